async fn firsts<'a, T, const N: usize>(train_dataset: &'a [T], limit: usize) -> Vec<T>
where
    T: Task + 'a,
{
    train_dataset.iter().take(limit).cloned().collect()
}
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
struct firsts<T, const N: usize> {
    limit: usize,
    __ghost: ::lightning_core::__private::Ghost<(T,)>,
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl<T, const N: usize> firsts<T, N> {
    ///The algorithm made of the function `firsts`.
    #[must_use]
    fn algorithm() -> Self {
        Self {
            limit: N,
            __ghost: ::lightning_core::__private::Ghost::NEW,
        }
    }
    ///Sets `limit`.
    #[must_use]
    fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl<T, const N: usize> ::lightning_core::__private::Params for firsts<T, N>
    where
        T: Task + ::core::marker::Send + ::core::marker::Sync + 'static,
    {
        const NAME: &'static str = "firsts";
        fn fields() -> ::lightning_core::__private::std::vec::Vec<
            ::lightning_core::__private::ParamField<Self>,
        > {
            ::lightning_core::__private::std::vec![
                ::lightning_core::__private::param:: < usize > ().field("limit", | __of |
                & __of.limit, | __of | & mut __of.limit)
            ]
        }
        fn begin(
            __values: &mut ::lightning_core::__private::JsonObject,
        ) -> ::core::result::Result<Self, ::lightning_core::__private::ParamError> {
            ::core::result::Result::Ok(Self::algorithm())
        }
    }
    impl<T, const N: usize> ::core::clone::Clone for firsts<T, N>
    where
        T: Task + ::core::marker::Send + ::core::marker::Sync + 'static,
    {
        fn clone(&self) -> Self {
            Self {
                limit: ::lightning_core::__private::param::<usize>().copy(&self.limit),
                __ghost: ::lightning_core::__private::Ghost::NEW,
            }
        }
    }
    impl<T, const N: usize> ::core::fmt::Debug for firsts<T, N>
    where
        T: Task + ::core::marker::Send + ::core::marker::Sync + 'static,
    {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            ::lightning_core::__private::debug_params(self, __f)
        }
    }
    impl<T, const N: usize> ::lightning_core::__private::serde::Serialize
    for firsts<T, N>
    where
        T: Task + ::core::marker::Send + ::core::marker::Sync + 'static,
    {
        fn serialize<__S: ::lightning_core::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            ::lightning_core::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de, T, const N: usize> ::lightning_core::__private::serde::Deserialize<'__de>
    for firsts<T, N>
    where
        T: Task + ::core::marker::Send + ::core::marker::Sync + 'static,
    {
        fn deserialize<__D: ::lightning_core::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            ::lightning_core::__private::deserialize_params(__deserializer)
        }
    }
};
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
impl<T, const N: usize> ::lightning_core::__private::FunctionalAlgorithm for firsts<T, N>
where
    T: Task + ::core::marker::Send + ::core::marker::Sync + 'static,
{
    const REQUIREMENTS: &'static [::lightning_core::__private::Requirement] = &[
        ::lightning_core::__private::Requirement::new(
            "train_dataset",
            "train_dataset",
            "&'a [T]",
            false,
        ),
    ];
    type Tasks = ::lightning_core::__private::Only<
        <&'static [T] as ::lightning_core::__private::DatasetParam>::Task,
    >;
    type Output = <Vec<T> as ::lightning_core::__private::Returned<false>>::Output;
    fn prepare<'__cx>(
        &'__cx self,
        __scope: &'__cx ::lightning_core::__private::Scope,
    ) -> ::core::result::Result<
        ::lightning_core::__private::AlgoFuture<'__cx, Self::Output>,
        ::lightning_core::__private::InjectErrors,
    > {
        ::lightning_core::__private::task_type::<
            <&'static [T] as ::lightning_core::__private::DatasetParam>::Task,
        >();
        ::lightning_core::__private::algorithm::is_output::<
            <Vec<T> as ::lightning_core::__private::Returned<false>>::Output,
        >();
        #[allow(unused_mut)]
        let mut __errors = ::lightning_core::__private::InjectErrors::default();
        let __a0 = __errors
            .keep(
                "train_dataset",
                <&'static [T] as ::lightning_core::__private::DatasetParam>::take(
                    __scope,
                    ::lightning_core::__private::DatasetSlot::Train,
                ),
            );
        let (::core::option::Option::Some(__a0),) = (__a0,) else {
            return ::core::result::Result::Err(__errors);
        };
        ::core::result::Result::Ok(
            ::lightning_core::__private::algorithm::finish::<
                false,
                Vec<T>,
            >(
                firsts::<
                    T,
                    N,
                >(__a0, ::lightning_core::__private::param::<usize>().copy(&self.limit)),
            ),
        )
    }
}
