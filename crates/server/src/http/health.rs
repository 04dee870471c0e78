//! For operators: does it answer, is it ready, its numbers.

use hyper::{Response, StatusCode};
use vang_hub::Scope;

use super::asked::{Answering, Asked};
use super::reply::{ResponseBody, text, whole};
use crate::status::metrics;

/// `GET /healthz`: the process answers.
pub(super) fn healthz(_asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async { text(StatusCode::OK, "ok\n") })
}

/// `GET /readyz`: it can write, has room on the disk and for one connection more, and its view is up to date.
pub(super) fn readyz(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let visitor = asked.visitor;
        let pump = &visitor.house.pump;
        let trouble = match &visitor.refused {
            Some(refused) => Some(refused.detail.clone()),
            None => pump.not_ready().await,
        };
        match (trouble, pump.damage()) {
            (Some(trouble), _) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {trouble}\n")),
            (None, Some(damage)) => text(StatusCode::OK, format!("ready; {damage}\n")),
            (None, None) => text(StatusCode::OK, "ready\n"),
        }
    })
}

/// `GET /metrics`: numbers for Prometheus; from this machine, unless the operator says otherwise.
pub(super) fn metrics(asked: Asked<'_>) -> Answering<'_> {
    Box::pin(async move {
        let house = &asked.visitor.house;
        if !(asked.is_local() || house.metrics.get() == Scope::Everywhere) {
            return forbidden();
        }
        whole(StatusCode::OK, metrics::CONTENT_TYPE, house.pump.metrics().await.into())
    })
}

fn forbidden() -> Response<ResponseBody> {
    text(StatusCode::FORBIDDEN, "metrics are for this machine, unless --metrics says everywhere\n")
}
