//! One test body, one test for each pair of programs that must work together.

/// Turns each `fn name(programs: [Program; 2]) { .. }` into a module of three tests: the gateway as the first node with
/// `wireguard-go`, or [`crate::Program::peer`] in its place, as the second, the other way round, and the gateway as both. Where the machine cannot run them they say
/// so and pass, see [`crate::requirements::can_run`].
#[macro_export]
macro_rules! for_each_pair {
    ($($(#[doc = $doc:literal])* fn $name:ident($programs:ident: [Program; 2]) $body:block)*) => { $(
        mod $name {
            use super::*;

            $(#[doc = $doc])*
            fn check($programs: [$crate::Program; 2]) $body

            #[test]
            fn gateway_with_other() {
                if $crate::requirements::can_run() {
                    check([$crate::Program::Gateway, $crate::Program::peer()]);
                }
            }

            #[test]
            fn other_with_gateway() {
                if $crate::requirements::can_run() {
                    check([$crate::Program::peer(), $crate::Program::Gateway]);
                }
            }

            #[test]
            fn gateway_with_gateway() {
                if $crate::requirements::can_run() {
                    check([$crate::Program::Gateway, $crate::Program::Gateway]);
                }
            }
        }
    )* };
}
