use serde_json::json;

use super::area;
use crate::types::{Llm, NamedResources, PromptTemplate, ProxyLlm, ResourcesQuery};

fn prompt(text: &str) -> NamedResources {
    NamedResources::new().with("prompt", PromptTemplate::new(text))
}

area! { "resources";
    async fn an_id_of_resources_is_rs_and_twelve_hexadecimal_digits(f) {
        let id = f.store.add_resources(prompt("a")).await.unwrap().resources_id;
        let digits = id.as_str().strip_prefix("rs-").expect("the id should begin with rs-");
        assert!(digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }

    async fn added_resources_are_version_one(f) {
        f.advance(3.5);
        let added = f.store.add_resources(prompt("a")).await.unwrap();
        assert_eq!((added.version, added.create_time, added.update_time), (1, f.now(), f.now()));
        assert_eq!(f.store.get_resources_by_id(&added.resources_id, None).await, Ok(Some(added)));
    }

    async fn resources_of_every_kind_come_back_as_they_went_in(f) {
        let resources = prompt("a")
            .with("llm", Llm::new("http://localhost:8000/v1", "möd€l").with_api_key("sk-test"))
            .with("proxy", ProxyLlm::new("http://localhost:4000/v1", "m").with_sampling_parameter("temperature", 0.7))
            .with("rules", json!({"nested": [1, null, {"deep": true}]}));
        let added = f.store.add_resources(resources.clone()).await.unwrap();
        let read = f.store.get_resources_by_id(&added.resources_id, None).await.unwrap().unwrap();
        assert_eq!(read.resources, resources);
    }

    async fn updating_new_resources_makes_version_one(f) {
        let made = f.store.update_resources("rs-mine".into(), prompt("a")).await.unwrap();
        assert_eq!((made.version, &made.resources_id), (1, &"rs-mine".into()));
        assert_eq!(made.resources, prompt("a"));
    }

    async fn an_update_makes_the_next_version(f) {
        let first = f.store.add_resources(prompt("a")).await.unwrap();
        f.advance(2.0);
        let second = f.store.update_resources(first.resources_id.clone(), prompt("b")).await.unwrap();
        assert_eq!((second.version, &second.resources), (2, &prompt("b")));
        assert_eq!((second.create_time, second.update_time), (first.create_time, f.now()));
        assert_eq!(f.store.get_resources_by_id(&first.resources_id, None).await, Ok(Some(second)));
    }

    async fn a_replaced_version_stays_readable(f) {
        let first = f.store.add_resources(prompt("a")).await.unwrap();
        let id = first.resources_id.clone();
        f.advance(1.0);
        let second = f.store.update_resources(id.clone(), prompt("b")).await.unwrap();
        f.store.update_resources(id.clone(), prompt("c")).await.unwrap();
        assert_eq!(f.store.get_resources_by_id(&id, Some(1)).await, Ok(Some(first)));
        assert_eq!(f.store.get_resources_by_id(&id, Some(2)).await, Ok(Some(second)));
    }

    async fn versions_that_never_were_give_nothing(f) {
        let id = f.store.add_resources(prompt("a")).await.unwrap().resources_id;
        assert_eq!(f.store.get_resources_by_id(&id, Some(0)).await, Ok(None));
        assert_eq!(f.store.get_resources_by_id(&id, Some(2)).await, Ok(None));
    }

    async fn the_latest_resources_are_those_updated_last(f) {
        let first = f.store.add_resources(prompt("a")).await.unwrap();
        f.advance(1.0);
        let second = f.store.add_resources(prompt("b")).await.unwrap();
        assert_eq!(f.store.get_latest_resources().await, Ok(Some(second)));
        f.advance(1.0);
        let updated = f.store.update_resources(first.resources_id, prompt("c")).await.unwrap();
        assert_eq!(f.store.get_latest_resources().await, Ok(Some(updated)));
    }

    async fn of_resources_stored_at_the_same_moment_the_last_is_the_latest(f) {
        f.store.add_resources(prompt("a")).await.unwrap();
        let last = f.store.add_resources(prompt("b")).await.unwrap();
        assert_eq!(f.store.get_latest_resources().await, Ok(Some(last)));
    }

    async fn a_query_shows_each_set_once_in_its_latest_version(f) {
        let first = f.store.add_resources(prompt("a")).await.unwrap();
        f.store.add_resources(prompt("b")).await.unwrap();
        let updated = f.store.update_resources(first.resources_id, prompt("c")).await.unwrap();
        let page = f.store.query_resources(ResourcesQuery::default()).await.unwrap();
        assert_eq!((page.total, &page.items[0]), (2, &updated));
    }

    async fn resources_may_be_empty(f) {
        let added = f.store.add_resources(NamedResources::new()).await.unwrap();
        assert_eq!(f.store.get_latest_resources().await, Ok(Some(added)));
    }

    async fn an_update_of_resources_does_not_touch_the_rollouts_that_use_them(f) {
        let id = f.store.add_resources(prompt("a")).await.unwrap().resources_id;
        let made = f.enqueue().await;
        f.store.update_resources(id, prompt("b")).await.unwrap();
        assert_eq!(f.rollout(&made.rollout_id).await, made);
    }
}
