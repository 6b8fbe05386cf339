/// Answers.
///
/// # Parameters
///
/// Set on `answer::agent(..)`:
///
/// - `temperature: f64` (default: `0.5`)
pub(crate) async fn answer(
    task: &Question,
    prompt_template: PromptTemplate,
    llm: Option<Llm>,
    temperature: f64,
) -> anyhow::Result<f64> {
    todo!()
}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
pub(crate) struct answer {
    temperature: f64,
    __ghost: ::lightning_core::__private::Ghost<()>,
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl answer {
    ///The agent made of the function `answer`.
    #[must_use]
    pub(crate) fn agent() -> Self {
        Self {
            temperature: 0.5,
            __ghost: ::lightning_core::__private::Ghost::NEW,
        }
    }
    ///Sets `temperature`.
    #[must_use]
    pub(crate) fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = temperature;
        self
    }
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl ::lightning_core::__private::Params for answer {
        const NAME: &'static str = "answer";
        fn fields() -> ::lightning_core::__private::std::vec::Vec<
            ::lightning_core::__private::ParamField<Self>,
        > {
            ::lightning_core::__private::std::vec![
                ::lightning_core::__private::param:: < f64 > ().field("temperature", |
                __of | & __of.temperature, | __of | & mut __of.temperature)
            ]
        }
        fn begin(
            __values: &mut ::lightning_core::__private::JsonObject,
        ) -> ::core::result::Result<Self, ::lightning_core::__private::ParamError> {
            ::core::result::Result::Ok(Self::agent())
        }
    }
    impl ::core::clone::Clone for answer {
        fn clone(&self) -> Self {
            Self {
                temperature: ::lightning_core::__private::param::<f64>()
                    .copy(&self.temperature),
                __ghost: ::lightning_core::__private::Ghost::NEW,
            }
        }
    }
    impl ::core::fmt::Debug for answer {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::lightning_core::__private::debug_params(self, __f)
        }
    }
    impl ::lightning_core::__private::serde::Serialize for answer {
        fn serialize<__S: ::lightning_core::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::lightning_core::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de> ::lightning_core::__private::serde::Deserialize<'__de> for answer {
        fn deserialize<__D: ::lightning_core::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            ::lightning_core::__private::deserialize_params(__deserializer)
        }
    }
};
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl answer {
        fn __inject(
            __scope: &::lightning_core::__private::Scope,
        ) -> (
            ::lightning_core::__private::InjectErrors,
            ::core::option::Option<PromptTemplate>,
            ::core::option::Option<Option<Llm>>,
        ) {
            #[allow(unused_mut)]
            let mut __errors = ::lightning_core::__private::InjectErrors::default();
            let __a1 = __errors
                .keep(
                    "prompt_template",
                    <PromptTemplate as ::lightning_core::__private::FitsPromptTemplate<
                        '_,
                    >>::fit(__scope),
                );
            let __a2 = __errors
                .keep(
                    "llm",
                    <Option<
                        Llm,
                    > as ::lightning_core::__private::FitsLlm<'_>>::fit(__scope),
                );
            (__errors, __a1, __a2)
        }
    }
    impl ::lightning_core::__private::FunctionalAgent for answer {
        const REQUIREMENTS: &'static [::lightning_core::__private::Requirement] = &[
            ::lightning_core::__private::Requirement::new(
                "prompt_template",
                "prompt_template",
                "PromptTemplate",
                false,
            ),
            ::lightning_core::__private::Requirement::new(
                "llm",
                "llm",
                "Option<Llm>",
                true,
            ),
        ];
        type DefaultTask = Question;
    }
    impl ::lightning_core::__private::Agent<Question> for answer {
        fn rollout<'__cx>(
            &'__cx self,
            __task: &'__cx Question,
            __cx: &'__cx ::lightning_core::__private::RolloutContext,
        ) -> ::lightning_core::__private::AgentFuture<'__cx> {
            let __task_type = ::lightning_core::__private::task_type::<Question>();
            let (__errors, __a1, __a2) = Self::__inject(__cx.scope());
            let (
                ::core::option::Option::Some(__a1),
                ::core::option::Option::Some(__a2),
            ) = (__a1, __a2) else {
                return ::lightning_core::__private::agent::refuse(__errors);
            };
            ::lightning_core::__private::agent::finish::<
                anyhow::Result<f64>,
            >(
                answer(
                    __task,
                    __a1,
                    __a2,
                    ::lightning_core::__private::param::<f64>().copy(&self.temperature),
                ),
            )
        }
        fn name(&self) -> ::lightning_core::__private::std::borrow::Cow<'static, str> {
            ::lightning_core::__private::std::borrow::Cow::Borrowed("answer")
        }
        fn requirements(
            &self,
        ) -> ::core::option::Option<
            &'static [::lightning_core::__private::Requirement],
        > {
            ::core::option::Option::Some(
                <Self as ::lightning_core::__private::FunctionalAgent>::REQUIREMENTS,
            )
        }
        fn check(
            &self,
            __scope: &::lightning_core::__private::Scope,
        ) -> ::core::result::Result<(), ::lightning_core::__private::InjectErrors> {
            ::lightning_core::__private::agent::check_before_rollouts(
                Self::__inject(__scope).0,
            )
        }
    }
};
fn blocking(task: &Question, rollout: Rollout) -> Reward {
    todo!()
}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
struct blocking {
    __ghost: ::lightning_core::__private::Ghost<()>,
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl blocking {
    ///The agent made of the function `blocking`.
    #[must_use]
    fn agent() -> Self {
        Self {
            __ghost: ::lightning_core::__private::Ghost::NEW,
        }
    }
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl ::lightning_core::__private::Params for blocking {
        const NAME: &'static str = "blocking";
        fn fields() -> ::lightning_core::__private::std::vec::Vec<
            ::lightning_core::__private::ParamField<Self>,
        > {
            ::lightning_core::__private::std::vec![]
        }
        fn begin(
            __values: &mut ::lightning_core::__private::JsonObject,
        ) -> ::core::result::Result<Self, ::lightning_core::__private::ParamError> {
            ::core::result::Result::Ok(Self::agent())
        }
    }
    impl ::core::clone::Clone for blocking {
        fn clone(&self) -> Self {
            Self {
                __ghost: ::lightning_core::__private::Ghost::NEW,
            }
        }
    }
    impl ::core::fmt::Debug for blocking {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::lightning_core::__private::debug_params(self, __f)
        }
    }
    impl ::lightning_core::__private::serde::Serialize for blocking {
        fn serialize<__S: ::lightning_core::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::lightning_core::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de> ::lightning_core::__private::serde::Deserialize<'__de> for blocking {
        fn deserialize<__D: ::lightning_core::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            ::lightning_core::__private::deserialize_params(__deserializer)
        }
    }
};
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl blocking {
        fn __inject(
            __scope: &::lightning_core::__private::Scope,
        ) -> (
            ::lightning_core::__private::InjectErrors,
            ::core::option::Option<Rollout>,
        ) {
            #[allow(unused_mut)]
            let mut __errors = ::lightning_core::__private::InjectErrors::default();
            let __a1 = __errors
                .keep(
                    "rollout",
                    <Rollout as ::lightning_core::__private::FitsRollout<
                        '_,
                    >>::fit(__scope),
                );
            (__errors, __a1)
        }
    }
    impl ::lightning_core::__private::FunctionalAgent for blocking {
        const REQUIREMENTS: &'static [::lightning_core::__private::Requirement] = &[
            ::lightning_core::__private::Requirement::new(
                "rollout",
                "rollout",
                "Rollout",
                false,
            ),
        ];
        type DefaultTask = Question;
    }
    impl ::lightning_core::__private::Agent<Question> for blocking {
        fn rollout<'__cx>(
            &'__cx self,
            __task: &'__cx Question,
            __cx: &'__cx ::lightning_core::__private::RolloutContext,
        ) -> ::lightning_core::__private::AgentFuture<'__cx> {
            let __task_type = ::lightning_core::__private::task_type::<Question>();
            let (__errors, __a1) = Self::__inject(__cx.scope());
            let (::core::option::Option::Some(__a1),) = (__a1,) else {
                return ::lightning_core::__private::agent::refuse(__errors);
            };
            {
                let __owned0 = __task_type.copy(__task);
                let __owned1 = __a1;
                ::lightning_core::__private::agent::finish_blocking::<
                    Reward,
                >(move || blocking(&__owned0, __owned1))
            }
        }
        fn name(&self) -> ::lightning_core::__private::std::borrow::Cow<'static, str> {
            ::lightning_core::__private::std::borrow::Cow::Borrowed("blocking")
        }
        fn requirements(
            &self,
        ) -> ::core::option::Option<
            &'static [::lightning_core::__private::Requirement],
        > {
            ::core::option::Option::Some(
                <Self as ::lightning_core::__private::FunctionalAgent>::REQUIREMENTS,
            )
        }
        fn check(
            &self,
            __scope: &::lightning_core::__private::Scope,
        ) -> ::core::result::Result<(), ::lightning_core::__private::InjectErrors> {
            ::lightning_core::__private::agent::check_before_rollouts(
                Self::__inject(__scope).0,
            )
        }
    }
};
async fn any_task() {}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
struct any_task {
    __ghost: ::lightning_core::__private::Ghost<()>,
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl any_task {
    ///The agent made of the function `any_task`.
    #[must_use]
    fn agent() -> Self {
        Self {
            __ghost: ::lightning_core::__private::Ghost::NEW,
        }
    }
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl ::lightning_core::__private::Params for any_task {
        const NAME: &'static str = "any_task";
        fn fields() -> ::lightning_core::__private::std::vec::Vec<
            ::lightning_core::__private::ParamField<Self>,
        > {
            ::lightning_core::__private::std::vec![]
        }
        fn begin(
            __values: &mut ::lightning_core::__private::JsonObject,
        ) -> ::core::result::Result<Self, ::lightning_core::__private::ParamError> {
            ::core::result::Result::Ok(Self::agent())
        }
    }
    impl ::core::clone::Clone for any_task {
        fn clone(&self) -> Self {
            Self {
                __ghost: ::lightning_core::__private::Ghost::NEW,
            }
        }
    }
    impl ::core::fmt::Debug for any_task {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::lightning_core::__private::debug_params(self, __f)
        }
    }
    impl ::lightning_core::__private::serde::Serialize for any_task {
        fn serialize<__S: ::lightning_core::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::lightning_core::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de> ::lightning_core::__private::serde::Deserialize<'__de> for any_task {
        fn deserialize<__D: ::lightning_core::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            ::lightning_core::__private::deserialize_params(__deserializer)
        }
    }
};
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl any_task {
        fn __inject(
            __scope: &::lightning_core::__private::Scope,
        ) -> (::lightning_core::__private::InjectErrors,) {
            #[allow(unused_mut)]
            let mut __errors = ::lightning_core::__private::InjectErrors::default();
            (__errors,)
        }
    }
    impl ::lightning_core::__private::FunctionalAgent for any_task {
        const REQUIREMENTS: &'static [::lightning_core::__private::Requirement] = &[];
        type DefaultTask = ::lightning_core::__private::Json;
    }
    impl<
        __Task: ::lightning_core::__private::Task,
    > ::lightning_core::__private::Agent<__Task> for any_task {
        fn rollout<'__cx>(
            &'__cx self,
            __task: &'__cx __Task,
            __cx: &'__cx ::lightning_core::__private::RolloutContext,
        ) -> ::lightning_core::__private::AgentFuture<'__cx> {
            let __task_type = ::lightning_core::__private::task_type::<__Task>();
            let (__errors,) = Self::__inject(__cx.scope());
            ::lightning_core::__private::agent::finish::<()>(any_task())
        }
        fn name(&self) -> ::lightning_core::__private::std::borrow::Cow<'static, str> {
            ::lightning_core::__private::std::borrow::Cow::Borrowed("any_task")
        }
        fn requirements(
            &self,
        ) -> ::core::option::Option<
            &'static [::lightning_core::__private::Requirement],
        > {
            ::core::option::Option::Some(
                <Self as ::lightning_core::__private::FunctionalAgent>::REQUIREMENTS,
            )
        }
        fn check(
            &self,
            __scope: &::lightning_core::__private::Scope,
        ) -> ::core::result::Result<(), ::lightning_core::__private::InjectErrors> {
            ::lightning_core::__private::agent::check_before_rollouts(
                Self::__inject(__scope).0,
            )
        }
    }
};
