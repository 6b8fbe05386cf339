//! Progress on a terminal.

use std::{sync::Arc, thread, time::Duration};

use lightning_core::{
    run::{ProgressEvent, ProgressSink as _},
    terminal::{Screen, TerminalProgress},
    testing::ManualClock,
};

use crate::{
    paper::{Closed, Watched},
    tty::Tty,
};

fn watched(columns: u16) -> (Watched, Screen, Tty, ManualClock) {
    let (tty, clock) = (Tty::new(columns.into()), ManualClock::default());
    let screen = Screen::terminal(tty.clone(), columns, 24);
    let progress = TerminalProgress::with_clock(screen.clone(), Arc::new(clock.clone()), Duration::ZERO);
    (Watched::new(progress), screen, tty, clock)
}

#[test]
fn what_goes_on_has_a_bar_each_and_what_has_ended_has_none() {
    let (watched, _, tty, _) = watched(60);
    let one = watched.begin("one", 4);
    let two = watched.begin("two", None);
    one.advance(1);
    two.advance(7);
    let shown = tty.shows();
    assert_eq!(shown.len(), 2, "{shown:?}");
    assert!(shown[0].starts_with("one                  ━━"), "{shown:?}");
    assert!(shown[0].contains("─ 1/4"), "{shown:?}");
    assert!(shown[1].starts_with("two"), "{shown:?}");
    assert!(shown[1].contains(" 7 "), "{shown:?}");
    drop(one);
    let shown = tty.shows();
    assert!(shown.len() == 1 && shown[0].starts_with("two"), "{shown:?}");
    drop(two);
    assert_eq!(tty.shows(), [""; 0]);
}

#[test]
fn what_is_printed_stands_above_the_bars() {
    let (watched, screen, tty, _) = watched(60);
    screen.print("before");
    let (one, two) = (watched.begin("one", 4), watched.begin("two", 4));
    screen.print("first\nand second");
    one.advance(2);
    screen.print("third\n");
    let shown = tty.shows();
    assert_eq!(shown[..4], ["before", "first", "and second", "third"]);
    assert!(shown.len() == 6 && shown[4].starts_with("one"), "{shown:?}");
    drop((one, two));
    screen.print("after");
    assert_eq!(tty.shows(), ["before", "first", "and second", "third", "after"]);
}

#[test]
fn what_took_a_while_leaves_a_line() {
    let (watched, _, tty, clock) = watched(60);
    let quick = watched.begin("quick", 4);
    clock.advance(Duration::from_millis(900));
    quick.advance(4);
    drop(quick);
    assert_eq!(tty.shows(), [""; 0]);
    let slow = watched.begin("slow", 4);
    clock.advance(Duration::from_secs(2));
    slow.advance(3);
    drop(slow);
    assert_eq!(tty.shows(), ["slow: ended at 3/4 in 2.0 s, 1.5/s"]);
}

#[test]
fn bars_without_room_are_counted_and_get_it_later() {
    let (watched, _, tty, _) = watched(60);
    let mut all: Vec<_> = (0..100).map(|n| watched.begin(&format!("part {n}"), 2)).collect();
    let shown = tty.shows();
    assert_eq!(shown.len(), 9, "{shown:?}");
    assert!(shown[7].starts_with("part 7 "), "{shown:?}");
    assert_eq!(shown[8], "… and 92 more");
    drop(all.drain(..90));
    let shown = tty.shows();
    assert_eq!(
        shown,
        ["… and 10 more"],
        "what has room shows itself when it moves"
    );
    all.iter().for_each(|part| part.advance(1));
    let shown = tty.shows();
    assert_eq!(shown.len(), 9, "{shown:?}");
    assert!(
        shown[0].starts_with("part 90 ") && shown[8] == "… and 2 more",
        "{shown:?}"
    );
    drop(all);
    assert_eq!(tty.shows(), [""; 0]);
}

#[test]
fn long_and_wide_labels_are_cut_to_their_column() {
    let (watched, _, tty, _) = watched(60);
    let _all = (
        watched.begin("a label of more than twenty columns", 4),
        watched.begin("日本語の長いラベルはここで切れます", 4),
        watched.begin("e\u{301}\u{1b}[31m\r\nnext", 4),
    );
    let shown = tty.shows();
    assert!(shown[0].starts_with("a label of more tha… ─"), "{shown:?}");
    assert!(shown[1].starts_with("日本語の長いラベル…  ─"), "{shown:?}");
    assert!(shown[2].starts_with("e\u{301} [31m next          ─"), "{shown:?}");
    assert!(
        shown.iter().all(|line| console::measure_text_width(line) <= 60),
        "{shown:?}"
    );
}

#[test]
fn a_total_may_be_zero_or_exceeded_and_a_terminal_tiny() {
    for columns in [1, 5, 20, 200] {
        let (watched, screen, tty, _) = watched(columns);
        let (zero, exceeded) = (watched.begin("zero", 0), watched.begin("exceeded", 3));
        exceeded.advance(u64::MAX);
        zero.advance(0);
        if columns == 200 {
            let shown = tty.shows();
            assert!(shown[0].contains(" 0/0"), "{shown:?}");
            assert!(shown[1].contains(" 18,446,744,073,709,551,615/3"), "{shown:?}");
        }
        drop((zero, exceeded));
        screen.print("x");
        assert_eq!(tty.shows(), ["x"], "in {columns} columns");
    }
}

#[test]
fn events_that_overtake_each_other_do_not_set_a_bar_back() {
    let (watched, _, tty, _) = watched(60);
    let event = |done, finished| ProgressEvent {
        id: u64::MAX,
        label: "reading",
        done,
        total: Some(9),
        finished,
    };
    for done in [5, 3] {
        watched.progress.update(&event(done, false));
    }
    assert!(tty.shows()[0].contains(" 5/9"), "{:?}", tty.shows());
    // The end of something else, of which nothing was heard.
    watched.progress.update(&ProgressEvent {
        id: u64::MAX - 1,
        ..event(9, true)
    });
    assert_eq!(tty.shows().len(), 1);
    watched.progress.update(&event(9, true));
    assert_eq!(tty.shows(), [""; 0]);
}

#[test]
fn finishing_clears_the_screen_and_what_moves_comes_back() {
    let (watched, screen, tty, _) = watched(60);
    let reading = watched.begin("reading", 4);
    watched.progress.finish();
    assert_eq!(tty.shows(), [""; 0]);
    screen.print("the end");
    reading.advance(1);
    assert!(tty.shows()[1].contains("1/4"), "{:?}", tty.shows());
    drop((watched, reading));
    assert_eq!(tty.shows(), ["the end"]);
}

#[test]
fn threads_that_report_and_print_at_once_leave_a_whole_screen() {
    let (watched, screen, tty, _) = watched(60);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (watched, screen) = (&watched, &screen);
            scope.spawn(move || {
                for round in 0..25 {
                    let part = watched.begin(&format!("part {thread} {round}"), 2);
                    part.advance(1);
                    screen.print(&format!("line {thread} {round}"));
                    part.advance(1);
                }
            });
        }
    });
    let shown = tty.shows();
    assert_eq!(shown.len(), 100, "{shown:?}");
    assert!(shown.iter().all(|line| line.starts_with("line ")), "{shown:?}");
}

#[test]
fn a_terminal_that_has_gone_fails_nothing() {
    let screen = Screen::terminal(Closed, 80, 24);
    let watched = Watched::new(TerminalProgress::new(screen.clone()));
    let (one, two) = (watched.begin("one", 2), watched.begin("two", None));
    one.advance(1);
    screen.print("nobody reads this");
    drop((one, two));
    watched.progress.finish();
}
