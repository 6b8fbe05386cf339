/// Tries each prompt of a list and keeps the best.
#[allow(clippy::too_many_arguments)]
///
/// # Parameters
///
/// Set on `select_prompt::algorithm(..)`:
///
/// - `rate: f64` (argument of `algorithm`)
/// - `repeats: usize` (default: `3`)
/// - `metric: String` (default: `"mean"`)
/// - `seeds: Vec<u64>` (default: that of its type)
pub async fn select_prompt(
    store: Arc<dyn Store>,
    train_dataset: Dataset<Question>,
    val_dataset: Option<&[Question]>,
    limits: Limits,
    judge: Option<&dyn JudgeModel>,
    rate: f64,
    repeats: usize,
    metric: String,
    seeds: Vec<u64>,
) -> anyhow::Result<PromptTemplate> {
    todo!()
}
#[allow(clippy::too_many_arguments)]
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
pub struct select_prompt {
    rate: f64,
    repeats: usize,
    metric: String,
    seeds: Vec<u64>,
    __ghost: ::lightning_core::__private::Ghost<()>,
}
#[allow(clippy::too_many_arguments)]
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl select_prompt {
    ///The algorithm made of the function `select_prompt`.
    #[must_use]
    pub fn algorithm(rate: f64) -> Self {
        Self {
            rate: rate,
            repeats: 3,
            metric: <String as ::lightning_core::__private::FromLiteral>::from_literal(
                "mean",
            ),
            seeds: <Vec<u64> as ::core::default::Default>::default(),
            __ghost: ::lightning_core::__private::Ghost::NEW,
        }
    }
    ///Sets `rate`.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }
    ///Sets `repeats`.
    #[must_use]
    pub fn repeats(mut self, repeats: usize) -> Self {
        self.repeats = repeats;
        self
    }
    ///Sets `metric`.
    #[must_use]
    pub fn metric(mut self, metric: String) -> Self {
        self.metric = metric;
        self
    }
    ///Sets `seeds`.
    #[must_use]
    pub fn seeds(mut self, seeds: Vec<u64>) -> Self {
        self.seeds = seeds;
        self
    }
}
#[allow(clippy::too_many_arguments)]
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl ::lightning_core::__private::Params for select_prompt {
        const NAME: &'static str = "select_prompt";
        fn fields() -> ::lightning_core::__private::std::vec::Vec<
            ::lightning_core::__private::ParamField<Self>,
        > {
            ::lightning_core::__private::std::vec![
                ::lightning_core::__private::param:: < f64 > ().field("rate", | __of | &
                __of.rate, | __of | & mut __of.rate),
                ::lightning_core::__private::param:: < usize > ().field("repeats", | __of
                | & __of.repeats, | __of | & mut __of.repeats),
                ::lightning_core::__private::param:: < String > ().field("metric", | __of
                | & __of.metric, | __of | & mut __of.metric),
                ::lightning_core::__private::param:: < Vec < u64 > > ().field("seeds", |
                __of | & __of.seeds, | __of | & mut __of.seeds)
            ]
        }
        fn begin(
            __values: &mut ::lightning_core::__private::JsonObject,
        ) -> ::core::result::Result<Self, ::lightning_core::__private::ParamError> {
            ::core::result::Result::Ok(
                Self::algorithm(
                    ::lightning_core::__private::param::<f64>()
                        .take::<Self>(__values, "rate")?,
                ),
            )
        }
    }
    impl ::core::clone::Clone for select_prompt {
        fn clone(&self) -> Self {
            Self {
                rate: ::lightning_core::__private::param::<f64>().copy(&self.rate),
                repeats: ::lightning_core::__private::param::<usize>()
                    .copy(&self.repeats),
                metric: ::lightning_core::__private::param::<String>()
                    .copy(&self.metric),
                seeds: ::lightning_core::__private::param::<Vec<u64>>()
                    .copy(&self.seeds),
                __ghost: ::lightning_core::__private::Ghost::NEW,
            }
        }
    }
    impl ::core::fmt::Debug for select_prompt {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::lightning_core::__private::debug_params(self, __f)
        }
    }
    impl ::lightning_core::__private::serde::Serialize for select_prompt {
        fn serialize<__S: ::lightning_core::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::lightning_core::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de> ::lightning_core::__private::serde::Deserialize<'__de>
    for select_prompt {
        fn deserialize<__D: ::lightning_core::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            ::lightning_core::__private::deserialize_params(__deserializer)
        }
    }
};
#[allow(clippy::too_many_arguments)]
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
impl ::lightning_core::__private::FunctionalAlgorithm for select_prompt {
    const REQUIREMENTS: &'static [::lightning_core::__private::Requirement] = &[
        ::lightning_core::__private::Requirement::new(
            "store",
            "store",
            "Arc<dyn Store>",
            false,
        ),
        ::lightning_core::__private::Requirement::new(
            "train_dataset",
            "train_dataset",
            "Dataset<Question>",
            false,
        ),
        ::lightning_core::__private::Requirement::new(
            "val_dataset",
            "val_dataset",
            "Option<&[Question]>",
            true,
        ),
        ::lightning_core::__private::Requirement::new(
            "limits",
            "Limits",
            "Limits",
            false,
        ),
        ::lightning_core::__private::Requirement::new(
            "judge",
            "Judge",
            "Option<&dyn JudgeModel>",
            true,
        ),
    ];
    const VERSION: &'static str = "2";
    type Tasks = ::lightning_core::__private::Only<
        <Dataset<Question> as ::lightning_core::__private::DatasetParam>::Task,
    >;
    type Output = <anyhow::Result<
        PromptTemplate,
    > as ::lightning_core::__private::Returned<true>>::Output;
    fn prepare<'__cx>(
        &'__cx self,
        __scope: &'__cx ::lightning_core::__private::Scope,
    ) -> ::core::result::Result<
        ::lightning_core::__private::AlgoFuture<'__cx, Self::Output>,
        ::lightning_core::__private::InjectErrors,
    > {
        ::lightning_core::__private::task_type::<
            <Dataset<Question> as ::lightning_core::__private::DatasetParam>::Task,
        >();
        ::lightning_core::__private::same_task::<
            <Dataset<Question> as ::lightning_core::__private::DatasetParam>::Task,
            <Option<
                &'static [Question],
            > as ::lightning_core::__private::DatasetParam>::Task,
        >();
        ::lightning_core::__private::algorithm::is_output::<
            <anyhow::Result<
                PromptTemplate,
            > as ::lightning_core::__private::Returned<true>>::Output,
        >();
        #[allow(unused_mut)]
        let mut __errors = ::lightning_core::__private::InjectErrors::default();
        let __a0 = __errors
            .keep(
                "store",
                <Arc<
                    dyn Store,
                > as ::lightning_core::__private::FitsStore<'_>>::fit(__scope),
            );
        let __a1 = __errors
            .keep(
                "train_dataset",
                <Dataset<
                    Question,
                > as ::lightning_core::__private::DatasetParam>::take(
                    __scope,
                    ::lightning_core::__private::DatasetSlot::Train,
                ),
            );
        let __a2 = __errors
            .keep(
                "val_dataset",
                <Option<
                    &'static [Question],
                > as ::lightning_core::__private::DatasetParam>::take(
                    __scope,
                    ::lightning_core::__private::DatasetSlot::Val,
                ),
            );
        let __a3 = __errors
            .keep(
                "limits",
                <Limits as ::lightning_core::__private::FitsByType<'_>>::fit(__scope),
            );
        let __a4 = __errors
            .keep(
                "judge",
                <Option<
                    &dyn JudgeModel,
                > as ::lightning_core::__private::FitsSlot<'_, Judge>>::fit(__scope),
            );
        let (
            ::core::option::Option::Some(__a0),
            ::core::option::Option::Some(__a1),
            ::core::option::Option::Some(__a2),
            ::core::option::Option::Some(__a3),
            ::core::option::Option::Some(__a4),
        ) = (__a0, __a1, __a2, __a3, __a4) else {
            return ::core::result::Result::Err(__errors);
        };
        ::core::result::Result::Ok(
            ::lightning_core::__private::algorithm::finish::<
                true,
                anyhow::Result<PromptTemplate>,
            >(
                select_prompt(
                    __a0,
                    __a1,
                    __a2,
                    __a3,
                    __a4,
                    ::lightning_core::__private::param::<f64>().copy(&self.rate),
                    ::lightning_core::__private::param::<usize>().copy(&self.repeats),
                    ::lightning_core::__private::param::<String>().copy(&self.metric),
                    ::lightning_core::__private::param::<Vec<u64>>().copy(&self.seeds),
                ),
            ),
        )
    }
}
