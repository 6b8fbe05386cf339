//! The exporter of OpenTelemetry's own SDK as a client.

use lightning_core::{
    client::StoreClient,
    types::{NewRollout, SpanQuery, SpanStatusCode},
};
use opentelemetry::{
    KeyValue,
    trace::{Span as _, Status, TraceContextExt as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_otlp::{Compression, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use serde_json::json;

use crate::raw::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_exporter_sends_is_stored() {
    let server = Server::start().await;
    let started = server
        .store
        .start_rollout(NewRollout::new(json!(1)), None)
        .await
        .unwrap();
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("agentlightning.rollout_id", started.rollout_id.to_string()),
        KeyValue::new(
            "agentlightning.attempt_id",
            started.attempt.attempt_id.to_string(),
        ),
        KeyValue::new("service.name", "agent"),
    ]);
    // Installs the provider of cryptography that reqwest wants in this build, also for plain HTTP.
    StoreClient::connect(server.url()).await.unwrap();
    let (endpoint, resource) = (format!("{}/v1/traces", server.url()), resource.build());
    // The SDK blocks, as an agent's own thread does.
    let exported = tokio::task::spawn_blocking(move || {
        for compression in [None, Some(Compression::Gzip)] {
            let exporter = SpanExporter::builder()
                .with_http()
                .with_endpoint(&endpoint)
                .with_protocol(Protocol::HttpBinary);
            let exporter = match compression {
                Some(compression) => exporter.with_compression(compression),
                None => exporter,
            };
            let provider = SdkTracerProvider::builder()
                .with_batch_exporter(exporter.build().unwrap())
                .with_resource(resource.clone())
                .build();
            let tracer = provider.tracer("agent");
            tracer.in_span("task", |context| {
                let mut call = tracer.start("model.call");
                call.set_attribute(KeyValue::new("gen_ai.usage.input_tokens", 7));
                call.set_status(Status::error("refused"));
                call.end();
                context.span().add_event("done", vec![KeyValue::new("calls", 1)]);
            });
            provider.shutdown().unwrap();
        }
    });
    exported.await.unwrap();
    let spans = server
        .store
        .query_spans(SpanQuery::of(started.rollout_id.clone()))
        .await
        .unwrap()
        .items;
    assert_eq!(spans.len(), 4, "plain and compressed");
    for pair in spans.chunks(2) {
        let call = pair.iter().find(|span| span.name == "model.call").unwrap();
        let task = pair.iter().find(|span| span.name == "task").unwrap();
        assert_eq!(
            (&call.parent_id, &call.trace_id),
            (&Some(task.span_id.clone()), &task.trace_id)
        );
        assert_eq!(call.status.status_code, SpanStatusCode::Error);
        assert_eq!(call.status.description.as_deref(), Some("refused"));
        assert_eq!(call.attributes["gen_ai.usage.input_tokens"], 7);
        assert_eq!(
            (task.events[0].name.as_str(), &task.events[0].attributes["calls"]),
            ("done", &json!(1))
        );
        assert_eq!(task.resource.attributes["service.name"], "agent");
        assert!(task.start_time <= call.start_time && call.end_time <= task.end_time);
    }
}
