//! Questions about small databases, and whether a query answers them.
//!
//! Databases, questions and right queries are made by a seed. A query counts as right if it gives the same rows as the right
//! one on the question's database, which the model never sees; in the same order where the question asks for one.

use anyhow::{Context as _, bail};
use lightning_core::types::Dataset;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use rusqlite::{Connection, types::ValueRef};
use serde::{Deserialize, Serialize};

/// How many instructions of SQLite's machine a query may take.
const MOST_STEPS: i32 = 5_000_000;
/// How many rows it may give.
const MOST_ROWS: usize = 10_000;

/// How hard a question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difficulty {
    /// One table and one condition.
    Easy,
    /// Two tables, or groups.
    Medium,
    /// What is missing, the most of something, conditions on groups, an order.
    Hard,
}

/// A question about a database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SqlQuestion {
    /// The tables, as `CREATE TABLE` statements.
    pub schema: String,
    /// What is asked.
    pub question: String,
    /// A query that answers it.
    pub query: String,
    /// How hard it is.
    pub difficulty: Difficulty,
    /// What the rows are made by.
    pub database: u64,
}

/// What a database is about: things, and what happens to them.
struct Domain {
    thing: &'static str,
    things: &'static str,
    /// What things come in groups by.
    group: &'static str,
    groups: &'static [&'static str],
    names: &'static [&'static str],
    event: &'static str,
    events: &'static str,
    /// What kinds of events there are.
    kind: &'static str,
    kinds: &'static [&'static str],
    /// What is counted of an event.
    number: &'static str,
}

const DOMAINS: [Domain; 5] = [
    Domain {
        thing: "customer",
        things: "customers",
        group: "city",
        groups: &["Oslo", "Porto", "Gdansk", "Lyon"],
        names: &["Ada", "Bo", "Chidi", "Dana", "Emre", "Fay", "Gita", "Hugo"],
        event: "order",
        events: "orders",
        kind: "status",
        kinds: &["open", "paid", "cancelled"],
        number: "amount",
    },
    Domain {
        thing: "member",
        things: "members",
        group: "branch",
        groups: &["north", "harbour", "old town"],
        names: &["Ines", "Jonas", "Kofi", "Lena", "Mio", "Nora", "Omar", "Pia"],
        event: "loan",
        events: "loans",
        kind: "genre",
        kinds: &["crime", "poetry", "travel", "science"],
        number: "days",
    },
    Domain {
        thing: "driver",
        things: "drivers",
        group: "depot",
        groups: &["east", "west", "airport"],
        names: &["Quinn", "Rosa", "Sven", "Tara", "Uma", "Viktor", "Wren", "Xenia"],
        event: "delivery",
        events: "deliveries",
        kind: "outcome",
        kinds: &["delivered", "refused", "lost"],
        number: "distance",
    },
    Domain {
        thing: "patient",
        things: "patients",
        group: "ward",
        groups: &["A1", "B2", "C3"],
        names: &["Yara", "Zeno", "Abel", "Bruna", "Cem", "Dora", "Elif", "Finn"],
        event: "visit",
        events: "visits",
        kind: "reason",
        kinds: &["check-up", "fracture", "fever"],
        number: "minutes",
    },
    Domain {
        thing: "player",
        things: "players",
        group: "team",
        groups: &["Falcons", "Otters", "Storks"],
        names: &["Gus", "Hana", "Ivo", "Jade", "Karim", "Lou", "Maja", "Nils"],
        event: "match",
        events: "matches",
        kind: "result",
        kinds: &["won", "lost", "drawn"],
        number: "points",
    },
];

/// So many questions. Different seeds make different databases.
pub fn questions(seed: u64, count: usize) -> Dataset<SqlQuestion> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut made = Vec::new();
    while made.len() < count {
        let question = question(&mut rng);
        // A question whose answer is nothing, or which has more than one right answer, tells nothing.
        if question.is_telling() {
            made.push(question);
        }
    }
    made.into()
}

fn question(rng: &mut StdRng) -> SqlQuestion {
    let database: u64 = rng.random();
    let (domain, key) = domain_of(database);
    let Domain {
        thing,
        things,
        group,
        event,
        events,
        kind,
        number,
        ..
    } = *domain;
    let (place, sort) = (pick(domain.groups, rng), pick(domain.kinds, rng));
    let (count, least) = (rng.random_range(1..=2), rng.random_range(20..=60));
    let joined = format!("{things} JOIN {events} ON {events}.{key} = {things}.{key}");
    let (question, query, difficulty) = match rng.random_range(0..10) {
        0 => (
            format!("How many {events} have the {kind} {sort}?"),
            format!("SELECT COUNT(*) FROM {events} WHERE {kind} = '{sort}'"),
            Difficulty::Easy,
        ),
        1 => (
            format!("What are the names of the {things} whose {group} is {place}?"),
            format!("SELECT name FROM {things} WHERE {group} = '{place}'"),
            Difficulty::Easy,
        ),
        2 => (
            format!("What is the highest {number} of a {event}?"),
            format!("SELECT MAX({number}) FROM {events}"),
            Difficulty::Easy,
        ),
        3 => (
            format!("For each {thing} with at least one {event}: the name and the number of {events}."),
            format!("SELECT name, COUNT(*) FROM {joined} GROUP BY {things}.{key}"),
            Difficulty::Medium,
        ),
        4 => (
            format!("What is the total {number} of all {events} of {things} whose {group} is {place}?"),
            format!("SELECT SUM({number}) FROM {joined} WHERE {group} = '{place}'"),
            Difficulty::Medium,
        ),
        5 => (
            format!(
                "Which different values of {group} do {things} have who have a {event} with the {kind} {sort}?"
            ),
            format!("SELECT DISTINCT {group} FROM {joined} WHERE {kind} = '{sort}'"),
            Difficulty::Medium,
        ),
        6 => (
            format!("What are the names of the {things} without any {event}?"),
            format!("SELECT name FROM {things} WHERE {key} NOT IN (SELECT {key} FROM {events})"),
            Difficulty::Hard,
        ),
        7 => (
            format!("What is the name of the {thing} whose {events} have the highest total {number}?"),
            format!("SELECT name FROM {joined} GROUP BY {things}.{key} ORDER BY SUM({number}) DESC LIMIT 1"),
            Difficulty::Hard,
        ),
        8 => (
            format!(
                "What are the names of the {things} with more than {count} {events} whose {number} is above {least}?"
            ),
            format!(
                "SELECT name FROM {joined} WHERE {number} > {least} GROUP BY {things}.{key} HAVING COUNT(*) > {count}"
            ),
            Difficulty::Hard,
        ),
        _ => (
            format!(
                "The average {number} of the {events} for each {group}, with the {group} first, highest average first."
            ),
            format!(
                "SELECT {group}, AVG({number}) FROM {joined} GROUP BY {group} ORDER BY AVG({number}) DESC"
            ),
            Difficulty::Hard,
        ),
    };
    SqlQuestion {
        schema: schema(domain, &key),
        question,
        query,
        difficulty,
        database,
    }
}

fn pick(of: &[&'static str], rng: &mut StdRng) -> &'static str {
    of.choose(rng).copied().unwrap_or_default()
}

/// The domain of a database, and what the key of its things is called.
fn domain_of(database: u64) -> (&'static Domain, String) {
    let mut rng = StdRng::seed_from_u64(database);
    let domain = &DOMAINS[rng.random_range(0..DOMAINS.len())];
    let key = match rng.random_range(0..2) {
        0 => format!("{}_id", domain.thing),
        _ => format!("{}_no", domain.thing),
    };
    (domain, key)
}

fn schema(domain: &Domain, key: &str) -> String {
    let Domain {
        things,
        group,
        events,
        kind,
        number,
        event,
        ..
    } = domain;
    format!(
        "CREATE TABLE {things} ({key} INTEGER PRIMARY KEY, name TEXT, {group} TEXT);\n\
         CREATE TABLE {events} ({event}_id INTEGER PRIMARY KEY, {key} INTEGER REFERENCES {things}, {kind} TEXT, {number} INTEGER);"
    )
}

/// The database itself, in memory.
fn open(database: u64) -> anyhow::Result<Connection> {
    let (domain, key) = domain_of(database);
    let mut rng = StdRng::seed_from_u64(database.wrapping_add(1));
    let connection = Connection::open_in_memory()?;
    connection.execute_batch(&schema(domain, &key))?;
    let things = rng.random_range(5..=domain.names.len());
    for (number, name) in (1_usize..).zip(&domain.names[..things]) {
        let statement = format!("INSERT INTO {} VALUES (?, ?, ?)", domain.things);
        connection.execute(&statement, (number, name, pick(domain.groups, &mut rng)))?;
    }
    for number in 1..=rng.random_range(12..=24_usize) {
        // The last of the things has nothing happen to it.
        let (thing, counted) = (rng.random_range(1..things), rng.random_range(5..=99));
        let statement = format!("INSERT INTO {} VALUES (?, ?, ?, ?)", domain.events);
        connection.execute(&statement, (number, thing, pick(domain.kinds, &mut rng), counted))?;
    }
    Ok(connection)
}

/// A value, as far as it matters.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Null,
    /// In millionths, so that averages that were worked out in another order are the same.
    Number(i128),
    Text(String),
}

/// The rows that a query gives. It may only read, and only so much.
fn rows(connection: &mut Connection, query: &str) -> anyhow::Result<Vec<Vec<Cell>>> {
    let first = query.split_whitespace().next().unwrap_or_default();
    if !["SELECT", "WITH"]
        .iter()
        .any(|verb| first.eq_ignore_ascii_case(verb))
    {
        bail!("this does not begin like a query");
    }
    // A query that joins everything with everything would go on for ever.
    connection.progress_handler(MOST_STEPS, Some(|| true))?;
    let mut statement = connection.prepare(query)?;
    if !statement.readonly() || statement.column_count() == 0 {
        bail!("this does not only read");
    }
    let columns = statement.column_count();
    let mut found = statement.query([])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        if all.len() == MOST_ROWS {
            bail!("there are more than {MOST_ROWS} rows");
        }
        let cells = (0..columns).map(|column| Ok(cell(row.get_ref(column)?)));
        all.push(cells.collect::<anyhow::Result<Vec<_>>>()?);
    }
    Ok(all)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a number that does not fit is equal to no right one"
)]
fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(number) => Cell::Number(i128::from(number) * 1_000_000),
        ValueRef::Real(number) => Cell::Number((number * 1e6).round() as i128),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Cell::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

impl SqlQuestion {
    /// 1 if the query in this answer gives the right rows, else 0, whatever is wrong with it.
    ///
    /// # Errors
    ///
    /// If the question itself is broken.
    pub fn reward(&self, said: &str) -> anyhow::Result<f64> {
        let expected = self.right_rows()?;
        let given = open(self.database).and_then(|mut database| rows(&mut database, query_in(said)));
        Ok(f64::from(u8::from(
            given.is_ok_and(|given| self.same(given, expected)),
        )))
    }

    fn right_rows(&self) -> anyhow::Result<Vec<Vec<Cell>>> {
        rows(&mut open(self.database)?, &self.query)
            .with_context(|| format!("the right query fails: {}", self.query))
    }

    /// In any order, unless the question asks for one.
    fn same(&self, mut given: Vec<Vec<Cell>>, mut expected: Vec<Vec<Cell>>) -> bool {
        if !self.query.contains("ORDER BY") {
            for rows in [&mut given, &mut expected] {
                rows.sort_by_key(|row| format!("{row:?}"));
            }
        }
        given == expected
    }

    /// Whether there is an answer, and only one.
    fn is_telling(&self) -> bool {
        let Ok(rows) = self.right_rows() else { return false };
        let nothing = rows.is_empty()
            || rows
                .iter()
                .flatten()
                .any(|cell| *cell == Cell::Null || *cell == Cell::Number(0));
        // The first by some order is the first by the opposite one among equals.
        let ties = self.query.replace(" DESC LIMIT 1", " DESC, name DESC LIMIT 1");
        let turned = Self {
            query: ties,
            ..self.clone()
        }
        .right_rows();
        let averages = rows.iter().filter_map(|row| row.get(1));
        let tied = self.query.contains("AVG(")
            && averages
                .clone()
                .enumerate()
                .any(|(i, a)| averages.clone().skip(i + 1).any(|b| a == b));
        !nothing && !tied && turned.is_ok_and(|turned| turned == rows)
    }
}

/// The query within an answer: what is fenced, if something is, else all of it.
fn query_in(said: &str) -> &str {
    let fenced = said.split("```").nth(1);
    let text = fenced.map_or(said, |fenced| fenced.strip_prefix("sql").unwrap_or(fenced));
    text.trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_query_is_right_and_others_are_not() {
        let questions = questions(1, 200);
        for question in questions.iter() {
            assert_eq!(question.reward(&question.query).unwrap(), 1.0, "{question:?}");
            let fenced = format!("Here it is:\n```sql\n{};\n```\nDone.", question.query);
            assert_eq!(question.reward(&fenced).unwrap(), 1.0, "{question:?}");
            for wrong in [
                "",
                "I do not know.",
                "SELECT 1 WHERE 0",
                "SELECT name FROM nowhere",
            ] {
                assert_eq!(question.reward(wrong).unwrap(), 0.0, "{wrong}");
            }
        }
        for difficulty in [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard] {
            assert!(
                questions
                    .iter()
                    .filter(|question| question.difficulty == difficulty)
                    .count()
                    > 30
            );
        }
    }

    #[test]
    fn order_counts_where_the_question_asks_for_it() {
        let all = questions(2, 200);
        let ordered = all
            .iter()
            .find(|question| question.query.contains("AVG("))
            .unwrap();
        assert_eq!(
            ordered.reward(&ordered.query.replace(" DESC", " ASC")).unwrap(),
            0.0
        );
        let named = all
            .iter()
            .find(|question| {
                question.query.starts_with("SELECT name FROM") && !question.query.contains("ORDER BY")
            })
            .unwrap();
        assert_eq!(
            named
                .reward(&format!("{} ORDER BY name DESC", named.query))
                .unwrap(),
            1.0
        );
    }

    #[test]
    fn a_query_can_neither_write_nor_go_on_for_ever() {
        let question = &questions(3, 1)[0];
        let for_ever = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT MAX(i) FROM n";
        let too_many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n";
        for query in [
            for_ever,
            too_many,
            "ATTACH '/tmp/written-by-a-model' AS x",
            "DROP TABLE customers",
            "PRAGMA page_count",
        ] {
            assert_eq!(question.reward(query).unwrap(), 0.0, "{query}");
        }
        assert!(!std::path::Path::new("/tmp/written-by-a-model").exists());
    }

    #[test]
    fn the_seed_decides() {
        let first = questions(5, 20);
        assert!(first.iter().eq(questions(5, 20).iter()));
        assert!(!first.iter().eq(questions(6, 20).iter()));
    }
}
