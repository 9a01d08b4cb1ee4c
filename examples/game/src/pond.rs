//! The rules of the pond: crumbs, and the fish that eat them.

use std::collections::BTreeMap;

use crate::fish::{Course, Fish, HEIGHT, WIDTH};

/// The number of crumbs without players, and for each player.
const CRUMBS: usize = 70;
const CRUMBS_FOR_EACH: usize = 1;

/// A crumb whose number is a multiple of this is golden.
pub(crate) const GOLDEN: usize = 10;

/// The crumbs in the water. One that is eaten appears elsewhere, and keeps its index.
#[derive(Debug, Default)]
pub(crate) struct Water {
    pub(crate) crumbs: Vec<(f32, f32)>,
}

/// The fish and their courses, by the player's id. In order, so that the same one always eats first.
pub(crate) type Swimmers = BTreeMap<String, (Fish, Course)>;

/// A meal of one fish in one step.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Meal {
    pub(crate) player: String,
    pub(crate) has_grown: bool,
}

impl Water {
    /// Moves all fish by `dt` seconds, and returns the meals of those that have reached crumbs.
    pub(crate) fn step(&mut self, swimmers: &mut Swimmers, dt: f32) -> Vec<Meal> {
        self.crumbs.resize_with(CRUMBS + CRUMBS_FOR_EACH * swimmers.len(), anywhere);
        let mut meals = Vec::new();
        for (player, (fish, course)) in swimmers {
            fish.swim(*course, dt);
            let worth = self.eaten_by(fish);
            if worth > 0 {
                meals.push(Meal { player: player.clone(), has_grown: fish.eat(worth) });
            }
        }
        meals
    }

    /// Moves the crumbs within a fish's reach elsewhere, and returns their worth.
    fn eaten_by(&mut self, fish: &Fish) -> u32 {
        let mut worth = 0;
        for (number, (x, y)) in self.crumbs.iter_mut().enumerate() {
            if (*x - fish.x).hypot(*y - fish.y) < fish.reach() {
                worth += if number % GOLDEN == 0 { 3 } else { 1 };
                (*x, *y) = anywhere();
            }
        }
        worth
    }
}

fn anywhere() -> (f32, f32) {
    (fastrand::f32() * WIDTH, fastrand::f32() * HEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swimmer(x: f32) -> (Fish, Course) {
        (Fish { x, y: 0.0, heading: 0.0, speed: 0.0, energy: 1.0, score: 0, level: 1 }, Course::default())
    }

    #[test]
    fn the_first_fish_in_reach_eats_the_crumb_which_moves() {
        let far = (WIDTH, HEIGHT);
        let mut water = Water { crumbs: vec![far; CRUMBS + 2] };
        water.crumbs[1] = (20.0, 0.0);
        let mut swimmers = Swimmers::from([("b".into(), swimmer(30.0)), ("a".into(), swimmer(10.0))]);
        let meals = water.step(&mut swimmers, 0.0);
        assert_eq!(meals, [Meal { player: "a".into(), has_grown: false }]);
        assert_eq!((swimmers["a"].0.score, swimmers["b"].0.score), (1, 0));
        assert_ne!(water.crumbs[1], (20.0, 0.0));
    }

    #[test]
    fn a_golden_crumb_is_worth_more() {
        let mut water = Water { crumbs: vec![(WIDTH, HEIGHT); CRUMBS + 1] };
        water.crumbs[GOLDEN] = (0.0, 0.0);
        let mut swimmers = Swimmers::from([("a".into(), swimmer(0.0))]);
        water.step(&mut swimmers, 0.0);
        assert_eq!(swimmers["a"].0.score, 3);
    }

    #[test]
    fn more_players_get_more_crumbs() {
        let mut water = Water::default();
        water.step(&mut Swimmers::new(), 0.0);
        assert_eq!(water.crumbs.len(), CRUMBS);
        let mut swimmers: Swimmers = (0..300).map(|n| (n.to_string(), swimmer(0.0))).collect();
        water.step(&mut swimmers, 0.0);
        assert_eq!(water.crumbs.len(), CRUMBS + 300 * CRUMBS_FOR_EACH);
    }
}
