# `just` lists the recipes. None is needed: `.ci/run` and the commands below are plain cargo.

export CARGO_TERM_COLOR := "always"

# List the recipes.
default:
    @just --list

# What continuous integration runs.
check:
    .ci/run

# All tests, doc tests included; `just test store` runs those whose name contains `store`.
test *filter:
    cargo test --workspace --features full --locked {{ filter }}

# What each verb of the store costs.
bench:
    cargo bench -p lightning-tests --bench store_verbs --locked

# What the durable store costs; `just bench-durable writes`, `rest` or `memory` for a part.
bench-durable *part:
    cargo bench -p lightning-tests --features full --bench durable_store --locked -- {{ part }}
    cargo bench -p lightning-tests --features full --bench store_verbs --locked -- sqlite

# What the LLM proxy costs beside a bare byte forwarder, and beside LiteLLM if LIGHTNING_LITELLM names a Python that has it.
bench-proxy:
    cargo bench -p lightning-tests --features proxy --bench proxy --locked

# How fast the small model is trained, beside PyTorch if an interpreter is named that has `torch`.
bench-training *python:
    cargo bench -p lightning-tests --features full --bench training --locked -- {{ python }}

# How fast the small model writes, beside naive loops.
bench-decoding:
    cargo bench -p lightning-tests --features full --bench decoding --locked

# Kill a process that writes to the durable store, 300 times; about ten minutes.
crash rounds="300":
    LIGHTNING_CRASH_ROUNDS={{ rounds }} cargo test -p lightning-tests --features full --test crash --locked -- --nocapture

# Many runners for half an hour, with everything in their way that networks and agents do.
soak seconds="1800":
    cargo run --release -p lightning-tests --features full --bin soak --locked -- {{ seconds }}

# The LLM proxy at the highest rate for ten minutes, while its store is stopped and started again.
soak-proxy seconds="600":
    cargo run --release -p lightning-tests --features proxy --bin soak_proxy --locked -- {{ seconds }}

# Break the lifecycle in each way of `tests/mutations/lifecycle.json`; about ten minutes.
mutations *name:
    cargo run -p lightning-tests --bin mutations --locked -- {{ name }}

# The reference of the API, as docs.rs would show it.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features full --locked --open

# The book, on http://localhost:3000 (needs mdbook).
book:
    mdbook serve docs --open

# Licences, advisories, bans (needs cargo-deny; the suite `repository` checks all but advisories without it).
deny:
    cargo deny check
