//! Progress where there is no terminal.

use std::{sync::Arc, time::Duration};

use lightning_core::{
    run::{ProgressEvent, ProgressSink as _},
    terminal::{Screen, TerminalProgress},
    testing::ManualClock,
};

use crate::paper::{Closed, Paper, Watched};

const SECOND: Duration = Duration::from_secs(1);

fn watched() -> (Watched, Paper, ManualClock) {
    let (paper, clock) = (Paper::default(), ManualClock::default());
    let screen = Screen::plain(paper.clone());
    let progress = TerminalProgress::with_clock(screen, Arc::new(clock.clone()), 5 * SECOND);
    (Watched::new(progress), paper, clock)
}

#[test]
fn a_line_is_written_at_the_beginning_at_the_end_and_every_few_seconds() {
    let (watched, paper, clock) = watched();
    let reading = watched.begin("reading", 100);
    assert_eq!(paper.take(), "reading: 0/100\n");
    for _ in 0..100 {
        clock.advance(SECOND / 4);
        reading.advance(1);
    }
    assert_eq!(
        paper.take(),
        "reading: 20/100 (20 %), 4.0/s, 20 s left\n\
         reading: 40/100 (40 %), 4.0/s, 15 s left\n\
         reading: 60/100 (60 %), 4.0/s, 10 s left\n\
         reading: 80/100 (80 %), 4.0/s, 5.0 s left\n\
         reading: 100/100 (100 %), 4.0/s\n"
    );
    drop(reading);
    assert_eq!(paper.take(), "", "the end comes too soon after the last line");
    watched.progress.finish();
    assert_eq!(paper.take(), "reading: 100/100 in 25 s, 4.0/s\n");
}

#[test]
fn what_ends_at_once_has_two_lines() {
    let (watched, paper, _) = watched();
    let reading = watched.begin("reading", 1000);
    (0..1000).for_each(|_| reading.advance(1));
    drop(reading);
    assert_eq!(paper.take(), "reading: 0/1,000\nreading: 1,000/1,000 in 0 ms\n");
    drop(watched);
    assert_eq!(paper.take(), "");
}

#[test]
fn what_happens_again_and_again_under_one_label_shares_its_lines() {
    let (watched, paper, clock) = watched();
    for _ in 0..60 {
        let candidate = watched.begin("evaluating", 10);
        clock.advance(SECOND / 4);
        candidate.advance(10);
    }
    // 15 seconds, a line every 5.
    let text = paper.take();
    assert_eq!(
        text,
        "evaluating: 0/10\n\
         evaluating: 10/10 in 0.2 s, 40.0/s\n\
         evaluating: 10/10 in 0.2 s, 40.0/s (and 18 before)\n\
         evaluating: 10/10 in 0.2 s, 40.0/s (and 19 before)\n",
    );
    drop(watched);
    assert_eq!(
        paper.take(),
        "evaluating: 10/10 in 0.2 s, 40.0/s (and 19 before)\n"
    );
}

#[test]
fn what_was_held_back_is_written_as_soon_as_anything_moves_in_time() {
    let (watched, paper, clock) = watched();
    drop(watched.begin("one", 1));
    drop(watched.begin("one", 1));
    paper.take();
    let other = watched.begin("other", 7);
    assert_eq!(paper.take(), "other: 0/7\n");
    clock.advance(5 * SECOND);
    other.advance(1);
    assert_eq!(
        paper.take(),
        "one: ended at 0/1 in 0 ms\nother: 1/7 (14 %), 12.0/min, 30 s left\n"
    );
}

#[test]
fn labels_do_not_share_their_limit() {
    let (watched, paper, _) = watched();
    let both = (watched.begin("one", 1), watched.begin("two", 1));
    drop(both);
    let lines = "one: 0/1\ntwo: 0/1\none: ended at 0/1 in 0 ms\ntwo: ended at 0/1 in 0 ms\n";
    assert_eq!(paper.take(), lines);
}

#[test]
fn a_total_may_be_unknown_or_zero_or_exceeded() {
    let (watched, paper, clock) = watched();
    let unknown = watched.begin("unknown", None);
    clock.advance(6 * SECOND);
    unknown.advance(30);
    clock.advance(6 * SECOND);
    drop(unknown);
    assert_eq!(
        paper.take(),
        "unknown begins\nunknown: 30, 5.0/s\nunknown: 30 in 12 s, 2.5/s\n"
    );

    let zero = watched.begin("zero", 0);
    clock.advance(6 * SECOND);
    zero.advance(0);
    drop(zero);
    watched.progress.finish();
    assert_eq!(paper.take(), "zero: 0/0\nzero: 0/0\nzero: 0/0 in 6.0 s\n");

    let exceeded = watched.begin("exceeded", 3);
    clock.advance(6 * SECOND);
    exceeded.advance(u64::MAX);
    clock.advance(6 * SECOND);
    drop(exceeded);
    let text = paper.take();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[1].starts_with("exceeded: 18,446,744,073,709,551,615/3 (100 %), "),
        "{text}"
    );
    assert!(!lines[1].contains("left"), "{text}");
}

#[test]
fn a_label_stays_on_its_line() {
    let (watched, paper, _) = watched();
    drop(watched.begin("two\nlines \u{1b}[2Jand 日本語", 1));
    let lines = "two lines [2Jand 日本語: 0/1\ntwo lines [2Jand 日本語: ended at 0/1 in 0 ms\n";
    assert_eq!(paper.take(), lines);
}

#[test]
fn what_is_only_seen_at_its_end_has_one_line() {
    let (watched, paper, _) = watched();
    watched.progress.update(&ProgressEvent {
        id: u64::MAX,
        label: "late",
        done: 2,
        total: Some(2),
        finished: true,
    });
    assert_eq!(paper.take(), "late: 2/2 in 0 ms\n");
}

#[test]
fn thousands_at_once_have_their_ends() {
    let (watched, paper, clock) = watched();
    let all: Vec<_> = (0..1000)
        .map(|n| watched.begin(&format!("part {n}"), 1))
        .collect();
    clock.advance(60 * SECOND);
    drop(all);
    assert_eq!(paper.take().lines().count(), 2000);
}

#[test]
fn a_closed_pipe_fails_nothing() {
    let watched = Watched::new(TerminalProgress::new(Screen::plain(Closed)));
    let reading = watched.begin("reading", 2);
    reading.advance(1);
    drop(reading);
    watched.progress.finish();
}
