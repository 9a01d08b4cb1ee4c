//! Patterns: the whole case table of docs/protocol.md, Names and patterns, and properties that hold for any input.

use pondsocket_proto::pattern::{InvalidPattern, Pattern, PatternFault};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

type Pairs = &'static [(&'static str, &'static str)];

/// The match of a pattern, as text.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The pattern is refused when it is registered.
    Rejected,
    NoMatch,
    /// Parameters, query, wildcard.
    Match(Pairs, Pairs, Option<&'static str>),
}

use Outcome::{Match, NoMatch, Rejected};

/// Row, pattern, input, outcome. Rows with a letter are paths of endpoints.
const CASES: &[(&str, &str, &str, Outcome)] = &[
    ("1", "/chat/:roomId", "/chat/general", Match(&[("roomId", "general")], &[], None)),
    ("2", "/chat/:roomId", "/chat/123", Match(&[("roomId", "123")], &[], None)),
    ("3", "/chat/:roomId", "/chat/", NoMatch),
    ("4", "/chat/:roomId", "/chat", NoMatch),
    ("5", "/chat/:roomId", "/chat/1/", Match(&[("roomId", "1")], &[], None)),
    ("6", "/chat/:roomId", "chat/1", Match(&[("roomId", "1")], &[], None)),
    ("7", "/chat/:roomId", "//chat///1", Match(&[("roomId", "1")], &[], None)),
    ("8", "/chat/:roomId", "/chat/1/2", NoMatch),
    ("9", "/chat/:roomId", "/Chat/1", NoMatch),
    ("10", "/chat/:roomId", "/chat/John%20Doe", Match(&[("roomId", "John Doe")], &[], None)),
    ("11", "/chat/:roomId", "/chat/a+b", Match(&[("roomId", "a+b")], &[], None)),
    ("12", "/chat/:roomId", "/chat/a%2Fb", Match(&[("roomId", "a/b")], &[], None)),
    ("13", "/chat/:roomId", "/chat/caf%C3%A9", Match(&[("roomId", "café")], &[], None)),
    ("14", "/chat/:roomId", "/chat/café", Match(&[("roomId", "café")], &[], None)),
    ("15", "/chat/:roomId", "/chat/100%", Match(&[("roomId", "100%")], &[], None)),
    ("16", "/chat/:roomId", "/chat/%zz", Match(&[("roomId", "%zz")], &[], None)),
    ("17", "/chat/:roomId", "/chat/%FF", Match(&[("roomId", "�")], &[], None)),
    ("18", "/chat/:roomId", "/chat/1?x=1&y=2", Match(&[("roomId", "1")], &[("x", "1"), ("y", "2")], None)),
    ("19", "/chat/:roomId", "/chat/1?x=1&x=2", Match(&[("roomId", "1")], &[("x", "1"), ("x", "2")], None)),
    ("20", "/chat/:roomId", "/chat/1?x", Match(&[("roomId", "1")], &[("x", "")], None)),
    ("21", "/chat/:roomId", "/chat/1?", Match(&[("roomId", "1")], &[], None)),
    ("22", "/chat/:roomId", "/chat/1?a=b%20c+d", Match(&[("roomId", "1")], &[("a", "b c d")], None)),
    ("23", "/chat/:roomId", "/chat/1?a=%zz", Match(&[("roomId", "1")], &[("a", "%zz")], None)),
    ("24", "/chat/:roomId", "/chat/1?a=1;b=2", Match(&[("roomId", "1")], &[("a", "1;b=2")], None)),
    ("25", "/chat/:roomId", "/chat/1?u=http://h/?q=1", Match(&[("roomId", "1")], &[("u", "http://h/?q=1")], None)),
    ("26", "/chat/:roomId", "/chat/1?a=1#frag", Match(&[("roomId", "1")], &[("a", "1#frag")], None)),
    ("27", "/chat/:roomId", "/chat/1#frag", Match(&[("roomId", "1#frag")], &[], None)),
    ("28", "/room/123", "/room/123", Match(&[], &[], None)),
    ("29", "/room/123", "/room/124", NoMatch),
    ("30", "room", "room", Match(&[], &[], None)),
    ("31", "room", "/room", Match(&[], &[], None)),
    ("32", "/api/:version/users/:id", "/api/v1/users/9", Match(&[("version", "v1"), ("id", "9")], &[], None)),
    ("33", "/user/:userId/profile", "/user/john/profile", Match(&[("userId", "john")], &[], None)),
    ("34", "/user/:userId/profile", "/user/john/settings", NoMatch),
    ("35", "/:a/:b", "/x/y", Match(&[("a", "x"), ("b", "y")], &[], None)),
    ("36", "/:id/:id", "/x/y", Rejected),
    ("37", "/room-:id", "/room-42", Match(&[("id", "42")], &[], None)),
    ("38", "/room-:id", "/room-", Match(&[("id", "")], &[], None)),
    ("39", "/room-:id", "/rooms", NoMatch),
    ("40", "room:*", "room:1", Match(&[("*", ":1")], &[], None)),
    ("41", "room:*", "roomX", Match(&[("*", "X")], &[], None)),
    ("42", "room:*", "lobby", NoMatch),
    ("43", "user:id", "user:id", Match(&[("id", ":id")], &[], None)),
    ("44", "user:id", "user:id2", Match(&[("id", ":id2")], &[], None)),
    ("45", "/chat/room-:id/*", "/chat/room-42/a/b", Match(&[("id", "42")], &[], Some("a/b"))),
    ("46", "/files/*", "/files/docs/readme.txt", Match(&[], &[], Some("docs/readme.txt"))),
    ("47", "/files/*", "/files", Match(&[], &[], Some(""))),
    ("48", "/files/*", "/files/", Match(&[], &[], Some(""))),
    ("49", "/files/*", "/files/a%20b/c", Match(&[], &[], Some("a b/c"))),
    ("50", "/files/*", "/files/a//b", Match(&[], &[], Some("a/b"))),
    ("51", "/files/*", "/other/a", NoMatch),
    ("52", "/files/*/tail", "/files/a/tail", Rejected),
    ("53", "/files/*/tail", "/files/a/b/c", Rejected),
    ("54", "/files/*/tail", "/files/x", Rejected),
    ("55", "*", "/anything/at/all", Match(&[], &[], Some("anything/at/all"))),
    ("56", "*", "", Match(&[], &[], Some(""))),
    ("57", "*", "message", Match(&[], &[], Some("message"))),
    ("58", "/*", "/", Match(&[], &[], Some(""))),
    ("59", "/", "/", Match(&[], &[], None)),
    ("60", "/", "", Match(&[], &[], None)),
    ("61", "", "/", Match(&[], &[], None)),
    ("62", "message", "message", Match(&[], &[], None)),
    ("63", "message", "message?x=1", Match(&[], &[("x", "1")], None)),
    ("64", "message", "/message/", Match(&[], &[], None)),
    ("65", "message", "Message", NoMatch),
    ("66", "message", "messages", NoMatch),
    ("67", "chat.:action", "chat.send", Match(&[("action", "send")], &[], None)),
    ("68", "file/*.txt", "file/a.txt", Rejected),
    ("69", "/a.b", "/axb", NoMatch),
    ("70", "/a.b", "/a.b", Match(&[], &[], None)),
    ("71", "/rooms/:", "/rooms/x", Rejected),
    ("72", "/:id?", "/x", Rejected),
    ("73", "/:id?", "/", Rejected),
    ("74", "/ws/*", "/ws/api/socket", Match(&[], &[], Some("api/socket"))),
    ("75", "/api/socket", "/api/socket?token=abc", Match(&[], &[("token", "abc")], None)),
    ("76", "/api/socket", "/api/socket/", Match(&[], &[], None)),
    ("77", "/api/socket", "/api%2Fsocket", NoMatch),
    ("E1", "/api/socket", "/api/socket", Match(&[], &[], None)),
    (
        "E2",
        "/api/socket",
        "/api/socket?token=a%20b+c&x=1&x=2",
        Match(&[], &[("token", "a b c"), ("x", "1"), ("x", "2")], None),
    ),
    ("E3", "/api/socket", "/api/socket/", Match(&[], &[], None)),
    ("E4", "/api/socket", "/API/socket", NoMatch),
    ("E5", "/api/:version/socket", "/api/v2/socket?token=t", Match(&[("version", "v2")], &[("token", "t")], None)),
    ("E6", "/api/:tenant/socket", "/api/a%2Fb/socket", Match(&[("tenant", "a/b")], &[], None)),
    ("E7", "/ws/*", "/ws/api/socket", Match(&[], &[], Some("api/socket"))),
    ("E8", "/api/socket", "/api/socket?token=%zz", Match(&[], &[("token", "%zz")], None)),
];

#[test]
fn the_case_table() {
    for (row, pattern, input, outcome) in CASES {
        let parsed = Pattern::parse(pattern);
        if let Rejected = outcome {
            assert!(parsed.is_err(), "row {row}: `{pattern}` is accepted");
            continue;
        }
        let found = parsed.unwrap_or_else(|error| panic!("row {row}: {error}")).matches(input);
        match (outcome, found) {
            (NoMatch, None) => {}
            (Match(params, query, wildcard), Some(found)) => {
                assert_eq!(found.params().collect::<Vec<_>>(), *params, "row {row}: parameters");
                assert_eq!(found.query.iter().collect::<Vec<_>>(), *query, "row {row}: query");
                assert_eq!(found.wildcard(), *wildcard, "row {row}: wildcard");
            }
            (outcome, found) => panic!("row {row}: `{pattern}` makes {found:?} of `{input}`, not {outcome:?}"),
        }
    }
}

#[test]
fn a_refusal_names_the_pattern_and_the_segment() {
    let error = Pattern::parse("/files/a*b/x").expect_err("a `*` within a segment");
    assert_eq!(error.to_string(), "invalid pattern `/files/a*b/x`: a `*` within a segment in `a*b`");
}

#[test]
fn a_refusal_names_the_fault_and_the_segment() {
    let table = [
        ("/a/:/b", ":", PatternFault::EmptyName),
        ("/:a/x:a", "x:a", PatternFault::DuplicateName),
        ("/a?b/c", "a?b", PatternFault::Query),
        ("/a/#", "#", PatternFault::Query),
        ("/**", "**", PatternFault::PartialWildcard),
        ("/a*:b", "a*:b", PatternFault::PartialWildcard),
        ("/a:b*", "a:b*", PatternFault::PartialWildcard),
        ("/*:*", "*:*", PatternFault::PartialWildcard),
        ("/*/b", "b", PatternFault::AfterWildcard),
        ("/*/*", "*", PatternFault::AfterWildcard),
    ];
    for (pattern, segment, reason) in table {
        let (pattern, segment) = (pattern.to_owned(), segment.to_owned());
        let error = Pattern::parse(&pattern).expect_err(&pattern);
        assert_eq!(error, InvalidPattern { pattern, segment, reason });
    }
}

#[test]
fn a_parameter_is_found_by_its_name() {
    let found = Pattern::parse("/:room/x-:seat").expect("valid").matches("/blue/x-7").expect("it matches");
    assert_eq!(["room", "seat", "x"].map(|name| found.param(name)), [Some("blue"), Some("7"), None]);
}

#[test]
fn a_literal_pattern_gives_the_only_path_that_it_matches() {
    let literal = |text: &str| {
        let pattern = Pattern::parse(text).expect("a valid pattern");
        (pattern.is_literal(), pattern.as_literal())
    };
    for (text, path) in [("/chat/lobby", "chat/lobby"), ("//chat//", "chat"), ("message", "message"), ("/", "")] {
        assert_eq!(literal(text), (true, Some(path.to_owned())), "{text}");
    }
    for text in [":name", "/chat/:room", "/chat/*", "*"] {
        assert_eq!(literal(text), (false, None), "{text}");
    }
}

#[test]
fn a_pattern_is_shown_as_it_was_written() {
    assert_eq!(Pattern::parse("//chat/:id/").expect("valid").as_str(), "//chat/:id/");
}

#[test]
fn a_repeated_key_keeps_all_values_and_the_first_is_the_one() {
    let found = Pattern::parse("/c").expect("valid").matches("/c?x=1&y=&x=2").expect("it matches");
    assert_eq!(found.query.first("x"), Some("1"));
    assert_eq!(found.query.all("x").collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((found.query.first("y"), found.query.first("z")), (Some(""), None));
}

#[test]
fn an_earlier_pattern_may_make_a_later_one_unreachable() {
    let shadows = |earlier: &str, later: &str| {
        Pattern::parse(earlier).expect("valid").shadows(&Pattern::parse(later).expect("valid"))
    };
    for (earlier, later) in
        [("*", "/chat/:id"), ("/*", "/"), ("/chat/:id", "/chat/7"), ("/a/*", "/a/:b/c"), ("/r-:x", "/r-1")]
    {
        assert!(shadows(earlier, later), "`{earlier}` before `{later}`");
    }
    for (earlier, later) in [("/chat/7", "/chat/:id"), ("/a/*", "/:b"), ("/a/:b", "/a"), ("/r-:x", "/:x"), ("/a", "*")]
    {
        assert!(!shadows(earlier, later), "`{earlier}` before `{later}`");
    }
}

/// Rows E9 and E10.
#[test]
fn of_several_patterns_that_match_the_first_is_the_one() {
    let (narrow, wide) = (Pattern::parse("/a").expect("valid"), Pattern::parse("/*").expect("valid"));
    assert!(narrow.matches("/a").is_some() && wide.matches("/a").is_some());
    assert!(!narrow.shadows(&wide), "row E9: `/*` is reached by all but `/a`");
    assert!(wide.shadows(&narrow), "row E10: `/a` is unreachable");
}

/// Texts of the characters that matter.
fn text() -> impl Strategy<Value = String> {
    "[a-c:*/?%#=&+2F\\-é]{0,16}"
}

/// Patterns that are valid more often than not, alike enough to shadow one another.
fn pattern() -> impl Strategy<Value = String> {
    let segment = select(vec!["a", "ab", "b", ":x", ":y", "a:x", "ab:y", "a%62"]);
    (vec(segment, 0..4), any::<bool>()).prop_map(|(mut segments, open)| {
        if open {
            segments.push("*");
        }
        segments.join("/")
    })
}

/// Paths that such patterns match more often than not.
fn path() -> impl Strategy<Value = String> {
    vec(select(vec!["a", "ab", "abc", "b", "a%62", "%"]), 0..5).prop_map(|segments| segments.join("/"))
}

/// All that a pattern finds in an input: parameters, query, wildcard.
type Found = (Vec<(String, String)>, Vec<(String, String)>, Option<String>);

fn found(pattern: &Pattern, input: &str) -> Option<Found> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let found = pattern.matches(input)?;
    let (params, query) = (found.params().map(owned).collect(), found.query.iter().map(owned).collect());
    Some((params, query, found.wildcard().map(str::to_owned)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4 * ProptestConfig::default().cases))]

    #[test]
    fn nothing_panics(pattern in prop_oneof![any::<String>(), text()], input in prop_oneof![any::<String>(), text()]) {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            found(&pattern, &input);
        }
    }

    #[test]
    fn outer_and_doubled_slashes_make_no_difference(
        pattern in pattern(), path in path(), query in "(\\?[/?a=&]{0,6})?",
    ) {
        let slashed = |text: &str| format!("//{}//", text.replace('/', "///"));
        let Ok(parsed) = Pattern::parse(&pattern) else { return Ok(()) };
        let expected = found(&parsed, &format!("{path}{query}"));
        prop_assert_eq!(&found(&parsed, &format!("{}{query}", slashed(&path))), &expected);
        let parsed = Pattern::parse(&slashed(&pattern)).expect("as valid as before");
        prop_assert_eq!(&found(&parsed, &format!("{path}{query}")), &expected);
    }

    #[test]
    fn a_query_never_prevents_a_match(pattern in pattern(), path in path(), query in any::<String>()) {
        let Ok(pattern) = Pattern::parse(&pattern) else { return Ok(()) };
        let with_query = pattern.matches(&format!("{path}?{query}")).is_some();
        prop_assert_eq!(with_query, pattern.matches(&path).is_some());
    }

    #[test]
    fn an_unreachable_pattern_is_never_reached(earlier in pattern(), later in pattern(), paths in vec(path(), 8)) {
        let (Ok(earlier), Ok(later)) = (Pattern::parse(&earlier), Pattern::parse(&later)) else { return Ok(()) };
        if earlier.shadows(&later) {
            for path in paths {
                prop_assert!(later.matches(&path).is_none() || earlier.matches(&path).is_some(), "`{}`", path);
            }
        }
    }
}
