//! Uploads that never end leave nothing, and compiled programs that somebody has touched are compiled again.

use std::fs;
use std::path::Path;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_admin::proto::handlers_upload_request::Part;
use weir_admin::proto::{HandlerUpload, HandlersListRequest, HandlersUploadRequest};
use weir_admin::tonic::Code;

use crate::probe::{Told, bound, program};
use crate::scene::{admin, header, node, publish, records, refusal, send, upload};

#[tokio::test]
async fn an_upload_that_is_cancelled_half_way_leaves_nothing_and_the_next_one_is_the_first() {
    let node = node().start();
    let admin = admin(&node).await;
    let bytes = program("01");
    let (parts, given) = mpsc::channel(1);
    let mut handlers = admin.handlers();
    let call = tokio::spawn(async move { handlers.upload(ReceiverStream::new(given)).await });
    let whole = HandlerUpload { name: "probe".to_owned(), bytes: bytes.len() as u64, ..Default::default() };
    let begun = [Part::Header(whole), Part::Chunk(bytes[..bytes.len() / 2].to_vec().into())];
    for part in begun {
        parts.send(HandlersUploadRequest { part: Some(part) }).await.expect("taken");
    }
    // The one before was taken out of the channel: it is on its way.
    let permit = parts.reserve().await.expect("taken");
    call.abort();
    assert!(call.await.is_err_and(|error| error.is_cancelled()));
    drop(permit);
    let listed = admin.handlers().list(HandlersListRequest::default()).await.expect("listed").into_inner();
    assert_eq!(listed.handlers, []);
    assert_eq!(upload(&admin, "probe", bytes).await.expect("kept").number, 1);
}

#[tokio::test]
async fn an_upload_with_another_digest_leaves_what_is_there_as_it_is() {
    let node = node().start();
    let admin = admin(&node).await;
    let first = upload(&admin, "probe", program("01")).await.expect("kept");
    let wrong =
        HandlerUpload { name: "probe".to_owned(), digest: first.digest.clone(), ..Default::default() };
    let parts = vec![Part::Header(wrong), Part::Chunk(program("02").into())];
    let (code, detail) = refusal(send(&admin, parts).await);
    assert_eq!((code, detail.reason.as_str()), (Code::DataLoss, "digest"));
    let listed = admin.handlers().list(HandlersListRequest::default()).await.expect("listed").into_inner();
    assert_eq!(listed.handlers[0].versions, [first]);
}

#[tokio::test]
async fn many_uploads_of_one_name_at_once_are_as_many_versions_each_with_its_number() {
    let node = node().start();
    let admin = admin(&node).await;
    let programs: Vec<_> = ["01", "02", "03", "04"].map(program).to_vec();
    let uploads = programs.into_iter().map(|program| {
        let admin = admin.clone();
        tokio::spawn(async move {
            let parts = vec![header("probe"), Part::Chunk(program.into())];
            send(&admin, parts).await.expect("kept").number
        })
    });
    let mut numbers = Vec::new();
    for upload in uploads.collect::<Vec<_>>() {
        numbers.push(upload.await.expect("an upload"));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

/// Changes a byte in the middle of every compiled program; how many there are.
fn tamper(directory: &Path) -> usize {
    let files = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path());
    let compiled = files.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm"));
    let change = |path: std::path::PathBuf| {
        let mut bytes = fs::read(&path).expect("a file");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("written");
    };
    compiled.map(change).count()
}

#[tokio::test]
async fn a_compiled_program_that_was_tampered_with_is_counted_and_compiled_again() {
    let mut node = node().listen("http").start();
    let before = admin(&node).await;
    bound(&before, 1).await;
    publish(&before, "in/a", r#"{"seq": 1}"#).await;
    records(&before, "first", 1).await;
    assert!(node.sigterm_and_wait().success());
    assert_eq!(tamper(&node.data_dir().join("handlers")), 1);
    let node = node.restart();
    let after = admin(&node).await;
    publish(&after, "in/a", r#"{"seq": 2}"#).await;
    let told: Vec<_> = records(&after, "first", 2).await.iter().map(Told::of).collect();
    assert_eq!((told[1].seq, told[1].count), (2, 2));
    let metrics = node.metrics();
    assert_eq!(metrics.value(r#"weir_runtime_cache_total{result="damaged"}"#), 1.0);
    assert_eq!(metrics.value(r#"weir_runtime_cache_total{result="hit"}"#), 0.0);
}
