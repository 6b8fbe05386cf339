//! What the scripted server answers where there is no model: simulations that can read invoice lines, and say what a prompt
//! for that lacks, and nothing else. All answers depend on the request alone.
//!
//! The *reader* reads by the rule engine of the quickstart, with the habits of a small model that has seen American invoices.
//! It heeds a few hints in a prompt, drops the dots of foreign letters, answers in prose unless it is asked for JSON, and has
//! only so much room to think aloud: a prompt that makes it ponder runs out of tokens on long lines. So prompts differ in
//! quality, as they do with a real model.
//!
//! The *critic* looks at the first thing that went wrong and names a hint; the *editor* puts the hint into the prompt, and
//! now and then loses the placeholder on the way, as models do. The *author* makes up prompts from hints at random.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use lightning_core::testing::llm::{ReceivedRequest, Reply};
use serde_json::json;

use crate::invoices::{Decimals, Found, PartyRule, Rules, Slashes, extract};

/// What a prompt may tell the reader to its advantage.
const HINTS: [&str; 5] = [
    "Answer with JSON only: {{\"date\": \"YYYY-MM-DD\", \"amount\": 1234.5, \"party\": \"name\"}}.",
    "Of two numbers in a date, the one above 12 is the day; else the day stands before the month.",
    "Of comma and dot in an amount, the one that comes last parts the decimals.",
    "The party is a company, or the name after from or to.",
    "Keep every letter of a name.",
];

/// Answers as the model that is asked for: `critic`, `editor`, `author`, or the reader under any other name.
pub fn any_model(request: &ReceivedRequest) -> Reply {
    let text = request.last_message();
    match request.model() {
        "critic" => Reply::text(criticise(&text)),
        "editor" => Reply::text(edit(&text)),
        "author" => Reply::text(make_up(&text)),
        _ => answer(request),
    }
}

/// Names the hint that would have helped in the first example that did not go well.
fn criticise(text: &str) -> String {
    let helps = |example: &str| {
        let outcome = example.lines().find(|line| line.starts_with("outcome: "))?;
        let said = example
            .lines()
            .filter(|line| line.starts_with("[assistant]"))
            .collect::<String>();
        let task = example.lines().find(|line| line.starts_with("task: "))?;
        let hint = if !said.contains('{') {
            0
        } else if outcome.contains("date 0") {
            1
        } else if outcome.contains("amount 0") {
            2
        } else if outcome.contains("party 0") {
            if task.contains(['ü', 'ø']) { 4 } else { 3 }
        } else {
            return None;
        };
        Some(HINTS[hint])
    };
    match text.split("--- example ").skip(1).find_map(helps) {
        Some(hint) => format!("The prompt should say this: {hint}"),
        None => "Nothing is wrong with it.".to_owned(),
    }
}

/// The template within a request.
fn template(text: &str) -> &str {
    let within = text
        .split_once("<template>\n")
        .and_then(|(_, rest)| rest.split_once("\n</template>"));
    within.map_or("", |(template, _)| template)
}

fn edit(text: &str) -> String {
    let template = template(text);
    let Some((_, hint)) = text.split_once("The prompt should say this: ") else {
        return format!("I would leave it.\n<prompt>{template}</prompt>");
    };
    let hint = hint.lines().next().unwrap_or_default();
    let mut edited = format!("{hint} {template}");
    if chance(text, 6) == 0 {
        edited = edited.replace("{line}", "the line");
    }
    format!("Here it is.\n<prompt>{edited}</prompt>")
}

fn make_up(text: &str) -> String {
    let hints = HINTS.iter().enumerate();
    let chosen = hints.filter(|(number, _)| chance(&format!("{number}{text}"), 3) == 0);
    let chosen: Vec<&str> = chosen.map(|(_, hint)| *hint).collect();
    format!("<prompt>{} {}</prompt>", chosen.join(" "), template(text))
}

/// A number below `sides` that depends on the text alone.
fn chance(text: &str, sides: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish() % sides
}

/// How many words an answer may have.
const ROOM: usize = 140;

/// The reader: answers a prompt that ends with `Line: ` and the line.
pub fn answer(request: &ReceivedRequest) -> Reply {
    let prompt = request.last_message();
    let (wording, line) = prompt.rsplit_once("Line: ").unwrap_or((&prompt, ""));
    let wording = wording.to_lowercase();
    let mut found = extract(line, &habits(&wording));
    if !wording.contains("every letter") {
        found.party = found.party.map(|party| party.replace('ü', "u").replace('ø', "o"));
    }

    let mut words: Vec<String> = Vec::new();
    if wording.contains("step by step") {
        for (number, word) in line.split_whitespace().enumerate() {
            let thought = format!(
                "Word {} is \"{word}\", which may well be a part of the answer.",
                number + 1
            );
            words.extend(thought.split(' ').map(str::to_owned));
        }
    }
    let told = if wording.contains("json") {
        as_json(&found)
    } else {
        in_prose(&found)
    };
    words.extend(told.split(' ').map(str::to_owned));
    if words.len() <= ROOM {
        return Reply::text(words.join(" "));
    }
    words.truncate(ROOM);
    Reply::text(words.join(" ")).finish_reason("length")
}

/// How it reads after these words.
fn habits(wording: &str) -> Rules {
    let hints = |hint: &str| wording.contains(hint);
    let slashes = if hints("above 12") {
        Slashes::DayFirstUnlessImpossible
    } else if hints("day stands before the month") {
        Slashes::DayFirst
    } else {
        Slashes::MonthFirst
    };
    let decimals = if hints("comes last") {
        Decimals::LastSeparator
    } else if hints("decimal comma") {
        Decimals::Comma
    } else {
        Decimals::Dot
    };
    let party = if hints("after from or to") {
        PartyRule::SuffixOrKeyword
    } else {
        PartyRule::Suffix
    };
    Rules {
        name: "simulated".to_owned(),
        slashes,
        decimals,
        party,
    }
}

fn as_json(found: &Found) -> String {
    let Found { date, amount, party } = found;
    json!({"date": date, "amount": amount, "party": party}).to_string()
}

fn in_prose(found: &Found) -> String {
    let unclear = || "something unclear".to_owned();
    let date = found.date.clone().unwrap_or_else(unclear);
    let amount = found.amount.map_or_else(unclear, |amount| amount.to_string());
    let party = found.party.clone().unwrap_or_else(unclear);
    format!("The date is {date}, the amount {amount} and the party {party}.")
}
