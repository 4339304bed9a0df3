//! What requests carry, taken out of them or refused as a problem.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::request::Parts;
use dhara::world::timeout;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use std::time::Duration;

use crate::problem::Problem;

/// How long a body may take to arrive.
const BODY_LIMIT: Duration = Duration::from_secs(30);

/// The one name in a request's path.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(rejection) => Err(Problem::new(rejection.status(), rejection.body_text())),
        }
    }
}

/// Reads a body of at most `most` bytes.
pub(crate) async fn read(body: Body, most: usize) -> Result<Bytes, Problem> {
    let Some(read) = timeout(BODY_LIMIT, Limited::new(body, most).collect()).await else {
        let detail = format!("the body did not arrive within {} s", BODY_LIMIT.as_secs());
        return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let detail = format!("the body must have at most {most} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Err(error) => {
            let detail = format!("the body cannot be read: {error}");
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::response::IntoResponse;
    use futures_util::{StreamExt, stream};

    use super::*;

    async fn status_of(body: Body) -> u16 {
        match read(body, 8).await {
            Ok(_) => 200,
            Err(problem) => problem.into_response().status().as_u16(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_in_which_a_body_fails_has_its_own_answer() {
        assert_eq!(status_of(Body::from("12345678")).await, 200);
        assert_eq!(status_of(Body::from("123456789")).await, 413);
        let broken = stream::iter([Ok("12"), Err(std::io::Error::other("broken off"))]);
        assert_eq!(status_of(Body::from_stream(broken)).await, 400);
        let start = stream::iter([Ok::<_, Infallible>("12")]);
        assert_eq!(status_of(Body::from_stream(start.chain(stream::pending()))).await, 408);
    }
}
