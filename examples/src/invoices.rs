//! A rule engine that reads dates, amounts and parties off lines such as bookkeepers meet them.

use std::sync::LazyLock;

use lightning_core::types::Reward;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A line, and what is in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Invoice {
    /// The text.
    pub line: String,
    /// The date, as `2024-03-05`.
    pub date: String,
    /// The amount of money, without its currency.
    pub amount: f64,
    /// Whom it is to, or from.
    pub party: String,
}

/// How to read a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rules {
    /// What this set of rules is called.
    pub name: String,
    /// How to read `03/04/2024`.
    pub slashes: Slashes,
    /// How to read `1.234`.
    pub decimals: Decimals,
    /// How to find the party.
    pub party: PartyRule,
}

/// How to read a date with slashes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Slashes {
    /// The day stands first.
    DayFirst,
    /// The month stands first.
    MonthFirst,
    /// The day stands first, unless there is no such month.
    DayFirstUnlessImpossible,
}

/// Which separator parts the decimals of an amount.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    /// The dot.
    Dot,
    /// The comma.
    Comma,
    /// Whichever comes last.
    LastSeparator,
}

/// How to find the party.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartyRule {
    /// The names before `Ltd`, `GmbH` and the like.
    Suffix,
    /// The names after `from` or `to`.
    Keyword,
    /// By the suffix; where there is none, by the keyword.
    SuffixOrKeyword,
}

/// What was read off a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The date, as `2024-03-05`.
    pub date: Option<String>,
    /// The amount.
    pub amount: Option<f64>,
    /// The party.
    pub party: Option<String>,
}

impl Found {
    /// What an answer says. One without readable JSON says nothing, which is the prompt's fault and no failure of the agent.
    pub fn in_answer(answer: &str) -> Self {
        let json = answer
            .find('{')
            .and_then(|begin| answer[begin..].rfind('}').map(|end| &answer[begin..=begin + end]));
        let fields: Value = json
            .and_then(|json| serde_json::from_str(json).ok())
            .unwrap_or_default();
        let text = |field: &str| fields[field].as_str().map(str::to_owned);
        Self {
            date: text("date"),
            amount: fields["amount"].as_f64(),
            party: text("party"),
        }
    }

    /// The share of the three fields that are right, and which of them are.
    pub fn compared_with(&self, invoice: &Invoice) -> Reward {
        let right = [
            ("date", self.date.as_ref() == Some(&invoice.date)),
            ("amount", self.amount == Some(invoice.amount)),
            ("party", self.party.as_ref() == Some(&invoice.party)),
        ];
        let share = right.iter().filter(|(_, is_right)| *is_right).count() as f64 / 3.0;
        let reward = Reward::new("right", share);
        right.iter().fold(reward, |reward, (field, is_right)| {
            reward.with(*field, f64::from(u8::from(*is_right)))
        })
    }
}

/// Reads a line by the rules.
pub fn extract(line: &str, rules: &Rules) -> Found {
    Found {
        date: date(line, rules.slashes),
        amount: amount(line, rules.decimals),
        party: party(line, rules.party),
    }
}

/// A pattern that is known to be one.
macro_rules! pattern {
    ($text:literal) => {{
        #[allow(
            clippy::expect_used,
            reason = "the pattern is a constant, and every example runs it"
        )]
        static PATTERN: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect("a pattern"));
        &*PATTERN
    }};
}

fn date(line: &str, slashes: Slashes) -> Option<String> {
    let iso = pattern!(r"\b\d{4}-\d{2}-\d{2}\b");
    if let Some(found) = iso.find(line) {
        return Some(found.as_str().to_owned());
    }
    let spelled = pattern!(r"\b([A-Z][a-z]{2})[a-z]* (\d{1,2}), (\d{4})\b");
    if let Some(parts) = spelled.captures(line)
        && let Some(month) = month(&parts[1])
    {
        return written(number(&parts[3]), month, number(&parts[2]));
    }
    let digits = pattern!(r"\b(\d{1,2})([./])(\d{1,2})[./](\d{4}|\d{2})\b");
    let parts = digits.captures(line)?;
    let (first, second, year) = (number(&parts[1]), number(&parts[3]), number(&parts[4]));
    let year = if year < 100 { 2000 + year } else { year };
    let month_first = &parts[2] == "/"
        && match slashes {
            Slashes::DayFirst => false,
            Slashes::MonthFirst => true,
            Slashes::DayFirstUnlessImpossible => second > 12,
        };
    if month_first {
        written(year, first, second)
    } else {
        written(year, second, first)
    }
}

fn month(name: &str) -> Option<u32> {
    let names = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    (1..)
        .zip(names)
        .find_map(|(number, known)| (known == name).then_some(number))
}

/// At most four digits.
fn number(digits: &str) -> u32 {
    digits.parse().unwrap_or_default()
}

fn written(year: u32, month: u32, day: u32) -> Option<String> {
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then(|| format!("{year}-{month:02}-{day:02}"))
}

fn amount(line: &str, decimals: Decimals) -> Option<f64> {
    let money = pattern!(r"(?:EUR|USD) ?(\d[\d.,]*\d)|\$(\d[\d.,]*\d)|(\d[\d.,]*\d) ?€");
    let parts = money.captures(line)?;
    let digits = parts.iter().skip(1).flatten().next()?.as_str();
    let decimal = match decimals {
        Decimals::Dot => '.',
        Decimals::Comma => ',',
        Decimals::LastSeparator => digits.chars().rev().find(|c| matches!(c, '.' | ','))?,
    };
    let plain: String = digits
        .chars()
        .filter(|c| c.is_ascii_digit() || *c == decimal)
        .map(|c| if c == decimal { '.' } else { c })
        .collect();
    plain.parse().ok()
}

fn party(line: &str, rule: PartyRule) -> Option<String> {
    let by_suffix = || {
        let suffix = pattern!(r"((?:\p{Lu}\w+ )+(?:Ltd|GmbH|Corp|Inc|S\.A\.|AG))");
        suffix.captures(line).map(|parts| parts[1].to_owned())
    };
    let by_keyword = || {
        let keyword = pattern!(r"\b(?:from|to) (\p{Lu}\w+(?: \p{Lu}\w+)*)");
        keyword.captures(line).map(|parts| parts[1].to_owned())
    };
    match rule {
        PartyRule::Suffix => by_suffix(),
        PartyRule::Keyword => by_keyword(),
        PartyRule::SuffixOrKeyword => by_suffix().or_else(by_keyword),
    }
}
