async fn tune(
    stroe: Arc<dyn Store>,
    train_dataset: Dataset<Question>,
    rate: &str,
) -> impl Serialize {
    rate.len()
}
::core::compile_error! {
    "no slot is called `stroe`\ndid you mean `store`?\nthe name of a parameter says what `#[algo]` hands to it: `store`, `adapter`, `llm_proxy`, `initial_resources`, `train_dataset`, `val_dataset`, `run`\nfor a hyper-parameter write `#[param(default = ..)] stroe: ..`\nfor a value of your own write `#[inject] stroe: ..`"
}
::core::compile_error! {
    "the algorithm keeps the value of a `#[param]`: write an owned type, such as `String` for `&str`"
}
::core::compile_error! {
    "write the type that is returned: `#[algo]` has to know it"
}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
struct tune {
    __ghost: ::lightning_core::__private::Ghost<()>,
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl tune {
    ///The algorithm made of the function `tune`.
    #[must_use]
    fn algorithm() -> Self {
        Self {
            __ghost: ::lightning_core::__private::Ghost::NEW,
        }
    }
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl ::lightning_core::__private::Params for tune {
        const NAME: &'static str = "tune";
        fn fields() -> ::lightning_core::__private::std::vec::Vec<
            ::lightning_core::__private::ParamField<Self>,
        > {
            ::lightning_core::__private::std::vec![]
        }
        fn begin(
            __values: &mut ::lightning_core::__private::JsonObject,
        ) -> ::core::result::Result<Self, ::lightning_core::__private::ParamError> {
            ::core::result::Result::Ok(Self::algorithm())
        }
    }
    impl ::core::clone::Clone for tune {
        fn clone(&self) -> Self {
            Self {
                __ghost: ::lightning_core::__private::Ghost::NEW,
            }
        }
    }
    impl ::core::fmt::Debug for tune {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::lightning_core::__private::debug_params(self, __f)
        }
    }
    impl ::lightning_core::__private::serde::Serialize for tune {
        fn serialize<__S: ::lightning_core::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::lightning_core::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de> ::lightning_core::__private::serde::Deserialize<'__de> for tune {
        fn deserialize<__D: ::lightning_core::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            ::lightning_core::__private::deserialize_params(__deserializer)
        }
    }
};
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
impl ::lightning_core::__private::FunctionalAlgorithm for tune {
    const REQUIREMENTS: &'static [::lightning_core::__private::Requirement] = &[
        ::lightning_core::__private::Requirement::new(
            "train_dataset",
            "train_dataset",
            "Dataset<Question>",
            false,
        ),
    ];
    type Tasks = ::lightning_core::__private::Only<
        <Dataset<Question> as ::lightning_core::__private::DatasetParam>::Task,
    >;
    type Output = <() as ::lightning_core::__private::Returned<false>>::Output;
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
        ::lightning_core::__private::algorithm::is_output::<
            <() as ::lightning_core::__private::Returned<false>>::Output,
        >();
        #[allow(unused_mut)]
        let mut __errors = ::lightning_core::__private::InjectErrors::default();
        let __a0 = __errors
            .keep(
                "train_dataset",
                <Dataset<
                    Question,
                > as ::lightning_core::__private::DatasetParam>::take(
                    __scope,
                    ::lightning_core::__private::DatasetSlot::Train,
                ),
            );
        let (::core::option::Option::Some(__a0),) = (__a0,) else {
            return ::core::result::Result::Err(__errors);
        };
        ::core::unreachable!()
    }
}
