//! Images made of words.

use super::*;

const A: Id = [1, 2];
const B: Id = [1, 3];

fn request(id: Id, revision: u64, members: &[u64]) -> Vec<u64> {
    [&COMMON_MAGIC[..], &id, &[revision, 0], members].concat()
}

fn tag(revision: u64) -> Vec<u64> {
    [&BASE_REVISION[..], &[revision]].concat()
}

fn image(parts: &[Vec<u64>]) -> Vec<u8> {
    // Something before, between and behind.
    let words = parts
        .iter()
        .flat_map(|part| part.iter().copied().chain([7]));
    [7].into_iter()
        .chain(words)
        .flat_map(u64::to_le_bytes)
        .collect()
}

fn scan(image: &mut [u8]) -> Result<Requests<'_>> {
    let size = image.len();
    Requests::scan(image, size)
}

#[test]
fn requests_are_found_and_answered() {
    let mut bytes = image(&[request(A, 5, &[11, 12]), request(B, 0, &[])]);
    let mut requests = scan(&mut bytes).unwrap();
    assert_eq!(requests.revision(A), Some(5));
    assert_eq!(requests.revision(B), Some(0));
    assert_eq!(requests.revision([1, 4]), None);
    assert_eq!(requests.member(A, 1), Some(12));
    assert_eq!(requests.member(B, 9), None, "behind the image");

    let expected = {
        let mut words = request(B, 0, &[]);
        words[5] = 0xffff_8000_0000_1000;
        image(&[request(A, 5, &[11, 12]), words])
    };
    requests.answer(B, VirtAddr::new(0xffff_8000_0000_1000));
    requests.answer([9, 9], VirtAddr::new(0xffff_8000_0000_2000));
    assert_eq!(bytes, expected);
}

#[test]
fn base_revisions_are_answered() {
    for (asked, applies, left) in [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 2, 3), (6, 2, 6)] {
        let mut bytes = image(&[tag(asked)]);
        assert_eq!(scan(&mut bytes).unwrap().base_revision(), applies);
        assert_eq!(bytes, image(&[tag(left)]), "asked for {asked}");
    }
    assert_eq!(scan(&mut image(&[])).unwrap().base_revision(), 0);
}

#[test]
fn duplicates_are_errors() {
    let twice = scan(&mut image(&[request(A, 0, &[]), request(A, 1, &[])])).unwrap_err();
    assert_eq!(twice, Error::DuplicateRequest(A));
    let twice = scan(&mut image(&[tag(1), tag(1)])).unwrap_err();
    assert_eq!(twice, Error::DuplicateBaseRevision);
}

#[test]
fn markers_are_honoured() {
    let (start, end) = (START.to_vec(), END.to_vec());
    let mut bytes = image(&[
        request(A, 1, &[]),
        tag(1),
        start.clone(),
        request(A, 2, &[]),
        start,
        request(A, 3, &[]),
        end.clone(),
        request(A, 4, &[]),
        request(B, 4, &[]),
        tag(2),
        end,
    ]);
    let requests = scan(&mut bytes).unwrap();
    assert_eq!(requests.revision(A), Some(3));
    assert_eq!(requests.revision(B), None);
    assert_eq!(requests.base_revision(), 0);

    let mut bytes = image(&[request(A, 1, &[]), END.to_vec(), START.to_vec(), tag(1)]);
    assert_eq!(
        scan(&mut bytes).unwrap().revision(A),
        Some(1),
        "a start behind the end"
    );
}

#[test]
fn only_what_was_loaded_from_the_file_is_scanned() {
    let mut bytes = image(&[request(A, 1, &[]), request(B, 1, &[])]);
    let requests = Requests::scan(&mut bytes, 64).unwrap();
    assert_eq!(requests.revision(A), Some(1));
    assert_eq!(requests.revision(B), None);
}

#[test]
fn a_request_off_its_boundary_or_cut_off_is_none() {
    let mut bytes = image(&[request(A, 1, &[])]);
    bytes.splice(0..0, [0; 4]);
    assert_eq!(scan(&mut bytes).unwrap().revision(A), None);
    let mut bytes = image(&[request(A, 1, &[])]);
    let size = bytes.len() - 16;
    assert_eq!(scan(&mut bytes[..size]).unwrap().revision(A), None);
}

#[test]
fn too_many_requests_are_an_error() {
    let requests = |n| (0..n).map(|i| request([0, i], 0, &[])).collect::<Vec<_>>();
    assert!(scan(&mut image(&requests(128))).is_ok());
    assert_eq!(
        scan(&mut image(&requests(129))).unwrap_err(),
        Error::TooManyRequests
    );
}
