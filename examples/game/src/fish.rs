//! A fish: its position, its course, its growth. Plain numbers; no clock and no network.

use std::f32::consts::{PI, TAU};

use serde::{Deserialize, Serialize};

/// The size of the pond, in the units of positions.
pub(crate) const WIDTH: f32 = 2400.0;
pub(crate) const HEIGHT: f32 = 1600.0;

/// The title at each level, the first of which is 1.
pub(crate) const TITLES: [&str; 8] = ["Fry", "Minnow", "Roach", "Perch", "Carp", "Pike", "Koi", "Elder of the pond"];

/// Units a second: of the smallest fish, and what each level takes away.
const SPEED: f32 = 210.0;
const SPEED_LOST: f32 = 6.0;

/// A dash: its speed relative to swimming, the seconds that full energy lasts, and the seconds until it is full again.
const DASH: f32 = 1.9;
const DASH_LASTS: f32 = 1.2;
const DASH_RETURNS: f32 = 4.0;

/// Turning, in radians a second, and acceleration, in parts of the missing speed a second.
const TURN: f32 = 4.5;
const PULL: f32 = 3.0;

/// The radius of the smallest circle that a fish swims without a dash.
const TURNING_RADIUS: f32 = SPEED / TURN;

/// The state of a fish. It is an assign of the member: it exists from the join to the leave.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Fish {
    pub(crate) x: f32,
    pub(crate) y: f32,
    /// The direction of its nose, in radians, clockwise from the right.
    pub(crate) heading: f32,
    pub(crate) speed: f32,
    /// The energy for dashing, from 0 to 1; negative for a pause after it is used up.
    pub(crate) energy: f32,
    pub(crate) score: u32,
    pub(crate) level: usize,
}

/// The course that a player has chosen: the payload of `steer`, and another assign of the member.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
pub(crate) struct Course {
    /// The direction, in radians. Without one the fish drifts.
    pub(crate) angle: Option<f32>,
    #[serde(default)]
    pub(crate) dash: bool,
}

impl Fish {
    /// A fish with this score, somewhere in the pond.
    pub(crate) fn hatch(score: u32) -> Fish {
        let (x, y) = (WIDTH * (0.1 + 0.8 * fastrand::f32()), HEIGHT * (0.1 + 0.8 * fastrand::f32()));
        Fish { x, y, heading: TAU * fastrand::f32(), speed: 0.0, energy: 1.0, score, level: level_of(score) }
    }

    /// Swims for `dt` seconds.
    pub(crate) fn swim(&mut self, course: Course, dt: f32) {
        let dashes = course.dash && course.angle.is_some() && self.energy > 0.0;
        self.energy += if dashes { -dt / DASH_LASTS } else { dt / DASH_RETURNS };
        // After it is used up a dash is not possible for a second.
        self.energy = if self.energy < 0.0 { -0.25 } else { self.energy.min(1.0) };

        let full = SPEED - SPEED_LOST * self.level as f32;
        let wanted = match course.angle {
            Some(_) if dashes => full * DASH,
            Some(_) => full,
            None => full * 0.15,
        };
        self.speed += (wanted - self.speed) * (PULL * dt).min(1.0);
        if let Some(angle) = course.angle {
            self.heading = turned(self.heading, angle, TURN * dt);
        }
        self.x = (self.x + self.heading.cos() * self.speed * dt).clamp(0.0, WIDTH);
        self.y = (self.y + self.heading.sin() * self.speed * dt).clamp(0.0, HEIGHT);
    }

    /// Adds to its score. Returns whether it has reached another level.
    pub(crate) fn eat(&mut self, worth: u32) -> bool {
        let before = self.level;
        self.score = self.score.saturating_add(worth);
        self.level = level_of(self.score);
        self.level > before
    }

    /// The distance from its middle at which it eats.
    pub(crate) fn reach(&self) -> f32 {
        18.0 + 3.0 * self.level as f32
    }

    pub(crate) fn title(&self) -> &'static str {
        TITLES[self.level - 1]
    }
}

/// The score at which a level begins.
pub(crate) fn score_of(level: usize) -> u32 {
    let level = u32::try_from(level).unwrap_or(u32::MAX);
    5 * level * (level - 1) / 2
}

fn level_of(score: u32) -> usize {
    (1..=TITLES.len()).rev().find(|level| score_of(*level) <= score).unwrap_or(1)
}

/// Returns whether a fish that turns towards a point reaches it: the point is `x` and `y` away from the fish. It would swim around
/// a point within its turning circle for ever.
pub(crate) fn is_in_reach(x: f32, y: f32, heading: f32) -> bool {
    let ahead = x * heading.cos() + y * heading.sin();
    let aside = (y * heading.cos() - x * heading.sin()).abs();
    ahead.hypot(aside - TURNING_RADIUS) >= TURNING_RADIUS
}

/// Turns a heading towards an angle, in the shorter direction, by `most` at the most.
fn turned(heading: f32, angle: f32, most: f32) -> f32 {
    let way = (angle - heading + PI).rem_euclid(TAU) - PI;
    (heading + way.clamp(-most, most)).rem_euclid(TAU)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fish() -> Fish {
        Fish { x: 100.0, y: 100.0, heading: 0.0, speed: 0.0, energy: 1.0, score: 0, level: 1 }
    }

    #[test]
    fn a_fish_follows_its_course_and_stays_in_the_pond() {
        let mut fish = fish();
        let left = Course { angle: Some(PI), dash: false };
        (0..200).for_each(|_| fish.swim(left, 0.05));
        assert_eq!(fish.x, 0.0);
        assert!((fish.heading - PI).abs() < 0.01, "{fish:?}");
        assert!((fish.speed - (SPEED - SPEED_LOST)).abs() < 1.0, "{fish:?}");
    }

    #[test]
    fn a_fish_turns_the_shorter_way_at_a_limited_speed() {
        assert_eq!(turned(0.1, TAU - 0.1, 1.0), TAU - 0.1);
        assert_eq!(turned(0.0, 2.0, 0.5), 0.5);
        assert!((0.0..TAU).contains(&turned(6.0, 1.0e6, 1.0)));
    }

    #[test]
    fn a_point_within_the_turning_circle_is_out_of_reach() {
        for side in [-1.0, 1.0] {
            assert!(!is_in_reach(0.0, side * TURNING_RADIUS, 0.0), "the middle of the circle");
            assert!(is_in_reach(0.0, side * 2.1 * TURNING_RADIUS, 0.0), "beyond the circle");
            assert!(
                !is_in_reach(side * TURNING_RADIUS, 0.0, side * -PI / 2.0),
                "the middle, of a fish that swims along y"
            );
        }
        assert!(is_in_reach(20.0, 0.0, 0.0), "ahead");
    }

    #[test]
    fn a_fish_that_turns_towards_the_middle_of_its_turning_circle_never_reaches_it() {
        let mut fish = Fish { speed: SPEED, ..fish() };
        let (x, y) = (fish.x, fish.y + TURNING_RADIUS);
        for _ in 0..1000 {
            fish.swim(Course { angle: Some((y - fish.y).atan2(x - fish.x)), dash: false }, 0.05);
            assert!((x - fish.x).hypot(y - fish.y) > fish.reach(), "{fish:?}");
        }
    }

    #[test]
    fn a_dash_is_faster_until_the_energy_is_used_up() {
        let (mut slow, mut fast) = (fish(), fish());
        for _ in 0..20 {
            slow.swim(Course { angle: Some(0.0), dash: false }, 0.05);
            fast.swim(Course { angle: Some(0.0), dash: true }, 0.05);
        }
        assert!(fast.x > slow.x * 1.2, "{} {}", fast.x, slow.x);
        for _ in 0..20 {
            fast.swim(Course { angle: Some(0.0), dash: true }, 0.05);
        }
        assert!(fast.energy < 0.0 && fast.speed < SPEED * 1.3, "{fast:?}");
    }

    #[test]
    fn levels_come_with_the_score_and_end_with_the_last_title() {
        let mut fish = fish();
        assert!(!fish.eat(4));
        assert!(fish.eat(1));
        assert_eq!((fish.level, fish.title()), (2, "Minnow"));
        assert!(fish.eat(1000));
        assert_eq!(fish.title(), "Elder of the pond");
        assert!(!fish.eat(u32::MAX));
    }
}
