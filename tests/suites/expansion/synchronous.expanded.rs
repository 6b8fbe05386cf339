#[deprecated]
#[cfg(unix)]
fn halve(run: RunContext, by: u64) -> Halved {
    run.seed() / by
}
#[deprecated]
#[cfg(unix)]
#[doc(hidden)]
#[allow(non_camel_case_types, dead_code)]
struct Halve {
    by: u64,
    __ghost: facade::toolkit::__private::Ghost<()>,
}
#[cfg(unix)]
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
#[allow(dead_code)]
impl Halve {
    ///The algorithm made of the function `halve`.
    #[must_use]
    fn algorithm() -> Self {
        Self {
            by: 2,
            __ghost: facade::toolkit::__private::Ghost::NEW,
        }
    }
    ///Sets `by`.
    #[must_use]
    fn by(mut self, by: u64) -> Self {
        self.by = by;
        self
    }
}
#[cfg(unix)]
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
const _: () = {
    impl facade::toolkit::__private::Params for Halve {
        const NAME: &'static str = "halve";
        fn fields() -> facade::toolkit::__private::std::vec::Vec<
            facade::toolkit::__private::ParamField<Self>,
        > {
            facade::toolkit::__private::std::vec![
                facade::toolkit::__private::param:: < u64 > ().field("by", | __of | &
                __of.by, | __of | & mut __of.by)
            ]
        }
        fn begin(
            __values: &mut facade::toolkit::__private::JsonObject,
        ) -> ::core::result::Result<Self, facade::toolkit::__private::ParamError> {
            ::core::result::Result::Ok(Self::algorithm())
        }
    }
    impl ::core::clone::Clone for Halve {
        fn clone(&self) -> Self {
            Self {
                by: facade::toolkit::__private::param::<u64>().copy(&self.by),
                __ghost: facade::toolkit::__private::Ghost::NEW,
            }
        }
    }
    impl ::core::fmt::Debug for Halve {
        fn fmt(&self, __f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            facade::toolkit::__private::debug_params(self, __f)
        }
    }
    impl facade::toolkit::__private::serde::Serialize for Halve {
        fn serialize<__S: facade::toolkit::__private::serde::Serializer>(
            &self,
            __serializer: __S,
        ) -> ::core::result::Result<__S::Ok, __S::Error> {
            facade::toolkit::__private::serialize_params(self, __serializer)
        }
    }
    impl<'__de> facade::toolkit::__private::serde::Deserialize<'__de> for Halve {
        fn deserialize<__D: facade::toolkit::__private::serde::Deserializer<'__de>>(
            __deserializer: __D,
        ) -> ::core::result::Result<Self, __D::Error> {
            facade::toolkit::__private::deserialize_params(__deserializer)
        }
    }
};
#[cfg(unix)]
#[allow(deprecated, unused_qualifications, clippy::all, clippy::pedantic)]
impl facade::toolkit::__private::FunctionalAlgorithm for Halve {
    const REQUIREMENTS: &'static [facade::toolkit::__private::Requirement] = &[
        facade::toolkit::__private::Requirement::new("run", "run", "RunContext", false),
    ];
    type Tasks = facade::toolkit::__private::AnyTask;
    type Output = <Halved as facade::toolkit::__private::Returned<
        {
            #[allow(unused_imports)]
            use facade::toolkit::__private::NotResult as _;
            facade::toolkit::__private::Probe::<Halved>::IS_RESULT
        },
    >>::Output;
    fn prepare<'__cx>(
        &'__cx self,
        __scope: &'__cx facade::toolkit::__private::Scope,
    ) -> ::core::result::Result<
        facade::toolkit::__private::AlgoFuture<'__cx, Self::Output>,
        facade::toolkit::__private::InjectErrors,
    > {
        facade::toolkit::__private::algorithm::is_output::<
            <Halved as facade::toolkit::__private::Returned<
                {
                    #[allow(unused_imports)]
                    use facade::toolkit::__private::NotResult as _;
                    facade::toolkit::__private::Probe::<Halved>::IS_RESULT
                },
            >>::Output,
        >();
        #[allow(unused_mut)]
        let mut __errors = facade::toolkit::__private::InjectErrors::default();
        let __a0 = __errors
            .keep(
                "run",
                <RunContext as facade::toolkit::__private::FitsRun<'_>>::fit(__scope),
            );
        let (::core::option::Option::Some(__a0),) = (__a0,) else {
            return ::core::result::Result::Err(__errors);
        };
        ::core::result::Result::Ok({
            let __owned0 = __a0;
            let __owned1 = facade::toolkit::__private::param::<u64>().copy(&self.by);
            facade::toolkit::__private::algorithm::finish_blocking::<
                {
                    #[allow(unused_imports)]
                    use facade::toolkit::__private::NotResult as _;
                    facade::toolkit::__private::Probe::<Halved>::IS_RESULT
                },
                Halved,
            >(move || halve(__owned0, __owned1))
        })
    }
}
