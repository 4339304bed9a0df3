//! The contract of the brokers, checked for every back end of this build.

use std::sync::Arc;

use dhara::BoxFuture;
use dhara::broker::{self, Broker, BrokerError};
use dhara::testing::conformance::Factory;
use dhara::world::World;

/// Brokers that `url` opens; what must be kept as long as they are used is in `_place`.
struct Opens<P> {
    url: String,
    world: World,
    _place: P,
}

impl<P: Send + Sync + 'static> Factory for Opens<P> {
    fn open(&self) -> BoxFuture<'_, Result<Arc<dyn Broker>, BrokerError>> {
        Box::pin(async { broker::open(&self.url, &self.world).await })
    }

    fn world(&self) -> World {
        self.world.clone()
    }
}

mod mem {
    use super::*;

    fn brokers() -> impl Factory {
        Opens { url: "mem:".to_owned(), world: World::real(), _place: () }
    }

    dhara::broker_conformance!(brokers, lacks: ["durable"], paused);

    mod on_threads {
        use super::brokers;

        dhara::broker_conformance!(brokers, lacks: ["durable"], threads);
    }
}

#[cfg(feature = "file")]
mod file {
    use super::*;

    /// A folder that is removed with the factory.
    struct Folder(std::path::PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    fn brokers() -> impl Factory {
        let world = World::real();
        let name = format!("dhara-broker-{:032x}", world.uuid().as_u128());
        let folder = Folder(std::env::temp_dir().join(name));
        Opens { url: format!("file:{}", folder.0.display()), world, _place: folder }
    }

    dhara::broker_conformance!(brokers, lacks: []);

    mod on_threads {
        use super::brokers;

        dhara::broker_conformance!(brokers, lacks: [], threads);
    }
}
