//! One test for each build of Postgres there is, so that each is run, and skipped, by itself.

/// Makes a test of the name of each build, which hands that name to a function.
#[macro_export]
macro_rules! every_build {
    ($run:path) => {
        $crate::every_build! { $run;
            npm_13: "npm-13", npm_14: "npm-14", npm_15: "npm-15", npm_16: "npm-16", npm_17: "npm-17", npm_18: "npm-18",
            debian_13: "debian-13", debian_15: "debian-15", debian_17: "debian-17", debian_18: "debian-18",
        }
    };
    ($run:path; $($test:ident: $name:literal,)+) => {$(
        #[test]
        fn $test() {
            $run($crate::Build::named($name).expect("a build"));
        }
    )+};
}
