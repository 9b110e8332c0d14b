//! A client of the HTTP endpoints for operators.

use std::path::Path;

use bytes::Bytes;
use reqwest::multipart::{Form, Part};
use reqwest::{Certificate, Client, Identity, Method, RequestBuilder};
use serde_json::Value;

use super::node::{Node, value_of};

/// An HTTP endpoint of a node.
pub struct Http {
    base: String,
    client: Client,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Returns the error text of a rejected request.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{self:?} has no {name}")).to_str().unwrap()
    }
}

impl Http {
    pub async fn of(node: &mut Node, endpoint: &str) -> Self {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // never reuse a connection: the node may close an idle one just when the next request is sent
            .pool_max_idle_per_host(0)
            .build()
            .unwrap();
        Self { base: format!("http://{}", address(node, endpoint).await), client }
    }

    /// Connects over TLS. Trusts `root`, and presents the certificate in `client`, a directory with client.crt and
    /// client.key.
    pub async fn secured(node: &mut Node, endpoint: &str, root: &Path, client: Option<&Path>) -> Self {
        let root = Certificate::from_pem(&std::fs::read(root).unwrap()).unwrap();
        let port = address(node, endpoint).await.rsplit_once(':').unwrap().1.to_owned();
        let mut builder = Client::builder()
            .pool_max_idle_per_host(0)
            .tls_certs_only([root])
            .resolve("orderer.example.com", format!("127.0.0.1:{port}").parse().unwrap());
        if let Some(folder) = client {
            let mut pem = std::fs::read(folder.join("client.crt")).unwrap();
            pem.extend(std::fs::read(folder.join("client.key")).unwrap());
            builder = builder.identity(Identity::from_pem(&pem).unwrap());
        }
        Self { base: format!("https://orderer.example.com:{port}"), client: builder.build().unwrap() }
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// Sends a file as the only part of a multipart form.
    pub async fn form(&self, method: Method, path: &str, part: &'static str, content: impl Into<Bytes>) -> Answer {
        let file = Part::bytes(content.into().to_vec()).file_name("a file");
        send(self.request(method, path).multipart(Form::new().part(part, file))).await
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = super::within("an answer comes", request.send()).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: super::within("a body comes", response.bytes()).await.unwrap() }
}

pub async fn address(node: &mut Node, endpoint: &str) -> String {
    let line = node.line(&format!("{endpoint} endpoint is open")).await;
    value_of(&line, "address").to_owned()
}
