//! Which agent a span is the work of, by the attributes that frameworks write.

use serde_json::Value;

use crate::types::Span;

pub(super) fn name(span: &Span) -> Option<&str> {
    let text = |key: &str| span.attributes.get(key).and_then(Value::as_str);
    // OpenAI Agents.
    text("agent.name")
        // AgentOps' decorator.
        .or_else(|| text("operation.name").filter(|_| text("agentops.span.kind") == Some("agent")))
        // AutoGen.
        .or_else(|| text("recipient_agent_type"))
        // LangGraph.
        .or_else(|| text("langchain.chain.type"))
        // agent-framework.
        .or_else(|| text("executor.id"))
        // Weave.
        .or_else(|| {
            let name = text("agentlightning.operation.input.name");
            name.filter(|_| text("type") == Some("agent"))
        })
        // Weave with LangChain.
        .or_else(|| text("lc_name").filter(|_| span.name.starts_with("langchain.Chain.")))
}
