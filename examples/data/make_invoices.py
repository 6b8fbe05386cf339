"""Writes invoices_train.jsonl and invoices_val.jsonl: messy lines as bookkeepers meet them, with what is in them.

Made up, deterministic, and committed beside this script: `python3 make_invoices.py`.
"""

import json
import pathlib
import random

MONTHS = "January February March April May June July August September October November December".split()
NAMES = "Acme Globex Initech Umbrella Stark Wayne Hooli Müller Søndergaard Tyrell Cyberdyne Okafor Nakamura Vega".split()
SUFFIXES = ["Ltd", "GmbH", "Corp", "Inc", "S.A.", "AG"]


def european(amount):
    return f"{amount:,.2f}".replace(",", "_").replace(".", ",").replace("_", ".")


def line(rng, share_european):
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.choice([2023, 2024])
    amount = round(rng.choice([rng.uniform(3, 99), rng.uniform(100, 999), rng.uniform(1000, 99999)]), 2)
    bare = rng.random() < 0.3
    name = " ".join(rng.sample(NAMES, rng.choice([1, 1, 2])))
    party = name if bare else f"{name} {rng.choice(SUFFIXES)}"
    if rng.random() < share_european:
        date = rng.choice([f"{day}.{month}.{year}", f"{day:02}.{month:02}.{year % 100}", f"{day:02}/{month:02}/{year}"])
        money = rng.choice([f"EUR {european(amount)}", f"{european(amount)} €"])
    else:
        date = rng.choice([f"{month:02}/{day:02}/{year}", f"{MONTHS[month - 1]} {day}, {year}", f"{year}-{month:02}-{day:02}"])
        if date[2] == "/" and day <= 12:
            date = f"{year}-{month:02}-{day:02}"  # Nobody could tell day from month.
        money = rng.choice([f"${amount:,.2f}", f"USD {amount:,.2f}"])
    if bare:
        form = rng.choice(["paid {m} to {p} on {d}", "{d}: received {m} from {p}", "{m} owed to {p} since {d}"])
    else:
        form = rng.choice(
            ["Inv. {n} from {p}, {d}, total {m}", "{d} | {p} | {m}", "Receipt #{n} - {p} - {d} - {m} due", "{p}; {d}; {m}"]
        )
    text = form.format(m=money, p=party, d=date, n=rng.randint(10, 9999))
    return {"line": text, "date": f"{year}-{month:02}-{day:02}", "amount": amount, "party": party}


here = pathlib.Path(__file__).parent
for name, seed, count, share_european in [("train", 1, 240, 0.5), ("val", 2, 120, 0.65)]:
    rng = random.Random(seed)
    with open(here / f"invoices_{name}.jsonl", "w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(json.dumps(line(rng, share_european), ensure_ascii=False) + "\n")
