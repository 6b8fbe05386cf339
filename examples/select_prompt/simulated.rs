//! What the scripted server answers where there is no model: a simulation that can read invoice lines and nothing else.
//!
//! It reads by the rule engine of the quickstart, with the habits of a small model that has seen American invoices. It heeds
//! a few hints in a prompt, drops the dots of foreign letters, answers in prose unless it is asked for JSON, and has only so much room to think aloud: a prompt
//! that makes it ponder runs out of tokens on long lines. So prompts differ in quality, as they do with a real model.

use lightning_core::testing::llm::{ReceivedRequest, Reply};
use lightning_examples::invoices::{Decimals, Found, PartyRule, Rules, Slashes, extract};
use serde_json::json;

/// How many words an answer may have.
const ROOM: usize = 140;

/// Answers a prompt that ends with `Line: ` and the line.
pub(super) fn answer(request: &ReceivedRequest) -> Reply {
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
