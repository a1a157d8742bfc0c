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

const AT: VirtAddr = VirtAddr::new(0xffff_ffff_8000_0000);

fn whole(bytes: &mut [u8]) -> Image<'_> {
    let from_file = bytes.len();
    Image {
        bytes,
        start: AT,
        from_file,
        list: None,
    }
}

fn scan(image: &mut [u8]) -> Result<Requests<'_>> {
    Requests::scan(whole(image))
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
    let magic = BASE_REVISION[0];
    for asked in 0..=6 {
        let mut bytes = image(&[tag(asked)]);
        assert_eq!(scan(&mut bytes).unwrap().base_revision(), asked);
        assert_eq!(bytes, image(&[vec![magic, asked, 0]]), "asked for {asked}");
    }
    assert_eq!(scan(&mut image(&[])).unwrap().base_revision(), 0);
}

#[test]
fn a_newer_base_revision_is_refused_and_named() {
    for asked in [7, u64::MAX] {
        let mut bytes = image(&[tag(asked)]);
        let refused = scan(&mut bytes).unwrap_err();
        assert_eq!(refused, Error::BaseRevision(asked));
        let says = refused.to_string();
        assert!(says.contains(&format!("base revision {asked} ")), "{says}");
        assert!(says.contains("ask for 6"), "{says}");
        assert_eq!(bytes, image(&[tag(asked)]), "left as it was");
    }
}

#[test]
fn what_has_no_answer_is_known() {
    let mut bytes = image(&[request(A, 0, &[]), request(B, 0, &[])]);
    let mut requests = scan(&mut bytes).unwrap();
    assert_eq!(requests.unanswered().collect::<Vec<_>>(), [A, B]);
    requests.answer(A, VirtAddr::new(8));
    assert_eq!(requests.unanswered().collect::<Vec<_>>(), [B]);
}

/// The list is behind the requests and lists B only, unless `listed` says otherwise.
fn scan_listed(revision: u64, listed: &[u64]) -> Result<(Option<u64>, Option<u64>)> {
    let mut bytes = image(&[
        request(A, 1, &[]),
        request(B, 2, &[]),
        tag(revision),
        listed.to_vec(),
    ]);
    let list = AT.as_u64() + 8 * LISTED;
    let image = Image {
        list: Some(list),
        ..whole(&mut bytes)
    };
    let requests = Requests::scan(image)?;
    Ok((requests.revision(A), requests.revision(B)))
}

/// Words before the list: one before each part, and the parts.
const LISTED: u64 = 7 + 7 + 4 + 1;

#[test]
fn a_kernel_of_revision_0_may_list_its_requests() {
    let at = |word: u64| AT.as_u64() + 8 * word;
    let (second, tag) = (at(8), at(15));
    assert_eq!(scan_listed(0, &[second, 0]), Ok((None, Some(2))));
    assert_eq!(scan_listed(0, &[second, tag, 0]), Ok((None, Some(2))));
    assert_eq!(scan_listed(0, &[0]), Ok((None, None)));
    // From revision 1 on the image is searched.
    assert_eq!(scan_listed(1, &[second, 0]), Ok((Some(1), Some(2))));
    for wrong in [
        &[at(7), 0][..], // no request
        &[second],       // no end: the word behind is no address
        &[at(9999), 0],  // outside
        &[AT.as_u64() - 8, 0],
    ] {
        assert_eq!(scan_listed(0, wrong), Err(Error::RequestList), "{wrong:x?}");
    }
    let twice = scan_listed(0, &[second, second, 0]);
    assert_eq!(twice, Err(Error::DuplicateRequest(B)));
}

#[test]
fn what_the_kernel_points_to_is_read() {
    let mut bytes = image(&[vec![u64::from_le_bytes(*b"abc\0defg")]]);
    let requests = scan(&mut bytes).unwrap();
    let at = AT.as_u64();
    assert_eq!(requests.word(at), Some(7));
    assert_eq!(requests.string(at + 9), Some(&b"bc"[..]));
    assert_eq!(requests.word(at + 17), None);
    assert_eq!(requests.word(at - 1), None);
    assert_eq!(requests.string(at + 25), None);
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
    let image = Image {
        from_file: 64,
        ..whole(&mut bytes)
    };
    let requests = Requests::scan(image).unwrap();
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
