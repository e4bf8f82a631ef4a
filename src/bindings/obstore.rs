//! Stores of obstore, made once more with an HTTP client of ours.
//!
//! The objects of another extension module are of no type that we know. What they can be asked for is how they
//! were made: the settings as obstore understood them.

use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use pyo3::PyTypeInfo;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use pyo3_object_store::{PyAzureStore, PyClientOptions, PyGCSStore, PyS3Store};

use crate::store::remote::client::Connector;

const OF_A_BUCKET: [&str; 5] = ["client_options", "config", "credential_provider", "prefix", "retry_config"];

/// Refuses settings of other names: what they ask for would not be done.
fn known(settings: &Bound<'_, PyDict>, names: &[&str]) -> PyResult<()> {
    for (name, value) in settings {
        let name = name.extract::<String>()?;
        if !value.is_none() && !names.contains(&name.as_str()) {
            return Err(PyValueError::new_err(format!("a setting {name:?} is not known")));
        }
    }
    Ok(())
}

/// How a store was made.
struct Settings<'py> {
    args: Bound<'py, PyTuple>,
    kwargs: Bound<'py, PyDict>,
}

impl<'py> Settings<'py> {
    /// Asks a store for its settings; those of another version of obstore may be more than are known here.
    fn of(store: &Bound<'py, PyAny>, arg_count: usize, names: &[&str]) -> PyResult<Self> {
        let (args, kwargs): (Bound<'_, PyTuple>, Bound<'_, PyDict>) =
            store.call_method0("__getnewargs_ex__")?.extract()?;
        if args.len() != arg_count {
            return Err(PyValueError::new_err(format!("a store made from {} values", args.len())));
        }
        known(&kwargs, names)?;
        Ok(Self { args, kwargs })
    }

    fn get(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let value = self.kwargs.get_item(name)?;
        Ok(value.filter(|value| !value.is_none()))
    }

    fn config<Key: FromStr<Err = object_store::Error>>(&self) -> PyResult<Vec<(Key, String)>> {
        let Some(config) = self.get("config")? else { return Ok(Vec::new()) };
        let setting = |(name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>)| {
            let key = name.extract::<String>()?.parse().map_err(refused)?;
            Ok((key, value.extract::<String>()?))
        };
        config.cast::<PyDict>()?.iter().map(setting).collect()
    }

    fn client_options(&self) -> PyResult<Option<ClientOptions>> {
        let Some(options) = self.get("client_options")? else { return Ok(None) };
        Ok(Some(options.extract::<PyClientOptions>()?.into()))
    }

    fn connector(&self) -> PyResult<Connector> {
        let Some(options) = self.get("client_options")? else {
            return Connector::new(None, None).map_err(refused);
        };
        let options = options.cast::<PyDict>()?;
        let certificates = options.get_item("root_certificate")?;
        let certificates = certificates.map(|pem| pem.extract::<Vec<u8>>()).transpose()?;
        let agent = options.get_item("user_agent")?.map(|agent| agent.extract::<String>()).transpose()?;
        Connector::new(certificates.as_deref(), agent.as_deref()).map_err(refused)
    }

    fn retries(&self) -> PyResult<Option<RetryConfig>> {
        let Some(given) = self.get("retry_config")? else { return Ok(None) };
        let given = given.cast::<PyDict>()?;
        known(given, &["backoff", "max_retries", "retry_timeout"])?;
        let mut retries = RetryConfig::default();
        if let Some(count) = given.get_item("max_retries")? {
            retries.max_retries = count.extract()?;
        }
        if let Some(timeout) = given.get_item("retry_timeout")? {
            retries.retry_timeout = timeout.extract()?;
        }
        if let Some(backoff) = given.get_item("backoff")? {
            known(backoff.cast()?, &["base", "init_backoff", "max_backoff"])?;
            retries.backoff.init_backoff = backoff.get_item("init_backoff")?.extract()?;
            retries.backoff.max_backoff = backoff.get_item("max_backoff")?.extract()?;
            retries.backoff.base = backoff.get_item("base")?.extract()?;
        }
        Ok(Some(retries))
    }

    /// The same store as `pyo3-object_store` makes it: of that only the way to a function's credentials is wanted.
    fn twin<T: PyTypeInfo>(&self) -> PyResult<Option<Bound<'py, T>>> {
        if self.get("credential_provider")?.is_none() {
            return Ok(None);
        }
        let made = T::type_object(self.kwargs.py()).call(&self.args, Some(&self.kwargs))?;
        Ok(Some(made.cast_into()?))
    }

    /// The part of a bucket that the store is of.
    fn below_prefix(&self, store: impl ObjectStore) -> PyResult<Arc<dyn ObjectStore>> {
        Ok(match self.get("prefix")? {
            Some(prefix) => {
                let prefix =
                    Path::parse(prefix.extract::<String>()?).map_err(|error| refused(error.into()))?;
                Arc::new(PrefixStore::new(store, prefix))
            }
            None => Arc::new(store),
        })
    }
}

/// What all four kinds of stores have: builders that are alike, and of no common trait.
macro_rules! speaking_as {
    ($settings:expr, $builder:expr) => {{
        let mut builder = $builder.with_http_connector($settings.connector()?);
        if let Some(options) = $settings.client_options()? {
            builder = builder.with_client_options(options);
        }
        if let Some(retries) = $settings.retries()? {
            builder = builder.with_retry(retries);
        }
        builder
    }};
}

/// One of the three clouds' stores.
macro_rules! like {
    ($settings:expr, $class:ty, $builder:ty, $key:ty) => {{
        let settings = $settings;
        // What the environment says comes first, so that all else overrides it.
        let mut builder = speaking_as!(settings, <$builder>::from_env());
        if let Some(twin) = settings.twin::<$class>()? {
            builder = builder.with_credentials(twin.get().as_ref().inner().credentials().clone());
        }
        for (key, value) in settings.config::<$key>()? {
            builder = builder.with_config(key, value);
        }
        settings.below_prefix(builder.build().map_err(refused)?)
    }};
}

/// The store that an obstore object describes: the same configuration, credentials, retries and client options.
pub(super) fn like(theirs: &Bound<'_, PyAny>) -> PyResult<Arc<dyn ObjectStore>> {
    let class = theirs.get_type().name()?.to_string();
    let in_bucket = || Settings::of(theirs, 0, &OF_A_BUCKET);
    match class.as_str() {
        "S3Store" => like!(in_bucket()?, PyS3Store, AmazonS3Builder, AmazonS3ConfigKey),
        "AzureStore" => like!(in_bucket()?, PyAzureStore, MicrosoftAzureBuilder, AzureConfigKey),
        "GCSStore" => like!(in_bucket()?, PyGCSStore, GoogleCloudStorageBuilder, GoogleConfigKey),
        "HTTPStore" => {
            let settings = Settings::of(theirs, 1, &["client_options", "retry_config"])?;
            let url = settings.args.get_item(0)?.extract::<String>()?;
            let builder = speaking_as!(settings, HttpBuilder::new().with_url(url));
            Ok(Arc::new(builder.build().map_err(refused)?))
        }
        _ => Err(PyValueError::new_err(format!("{class} is no store on the network"))),
    }
}

fn refused(error: object_store::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}
