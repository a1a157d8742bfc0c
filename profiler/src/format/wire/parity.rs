//! Reed-Solomon parity over bytes: 16 bytes behind 239, by which up to 8 damaged bytes are mended.
//!
//! The code is the shortest usual one (RFC 6363's and CCSDS's family): the field of 256 with
//! polynomial 0x11d, roots α⁰ to α¹⁵. The first byte is the coefficient of the highest power.

/// The bytes of a code word.
pub(super) const WORD: usize = 255;
/// Those of them that are parity.
pub(super) const PARITY: usize = 16;
/// Those of them that are not.
pub(super) const DATA: usize = WORD - PARITY;

/// Powers of α: twice in a row, so that a sum of two logarithms is a place.
const POWERS: [u8; 2 * 255] = {
    let mut powers = [0; 2 * 255];
    let mut power: u32 = 1;
    let mut at = 0;
    while at < 255 {
        powers[at] = power.to_le_bytes()[0];
        powers[at + 255] = powers[at];
        power <<= 1;
        if power >= 0x100 {
            power ^= 0x11d;
        }
        at += 1;
    }
    powers
};

/// Logarithms to the base α; that of 0 is never looked at.
#[allow(clippy::cast_possible_truncation)] // below 255
const LOGARITHMS: [u8; 256] = {
    let mut logarithms = [0; 256];
    let mut at = 0;
    while at < 255 {
        logarithms[POWERS[at] as usize] = at as u8;
        at += 1;
    }
    logarithms
};

/// (x - α⁰) … (x - α¹⁵) by falling powers, without the highest, whose coefficient is 1.
const GENERATOR: [u8; PARITY] = {
    let mut product = [0; PARITY + 1];
    product[0] = 1;
    let mut root = 0;
    while root < PARITY {
        // Each coefficient has the one before it times the root added.
        let mut at = root + 1;
        while at > 0 {
            product[at] ^= times(product[at - 1], POWERS[root]);
            at -= 1;
        }
        root += 1;
    }
    let mut generator = [0; PARITY];
    let mut at = 0;
    while at < PARITY {
        generator[at] = product[at + 1];
        at += 1;
    }
    generator
};

const fn times(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    POWERS[LOGARITHMS[a as usize] as usize + LOGARITHMS[b as usize] as usize]
}

/// α to this power, or 1 through that.
fn power(exponent: usize) -> u8 {
    POWERS[exponent % 255]
}

/// `a` divided by `b`, which is not 0.
fn divided(a: u8, b: u8) -> u8 {
    if a == 0 {
        return 0;
    }
    let [a, b] = [a, b].map(|it| usize::from(LOGARITHMS[usize::from(it)]));
    POWERS[a + 255 - b]
}

/// Writes the parity of a word behind its data.
pub(super) fn append(word: &mut [u8; WORD]) {
    let (data, parity) = word.split_at_mut(DATA);
    parity.fill(0);
    for &byte in &*data {
        let factor = byte ^ parity[0];
        parity.rotate_left(1);
        parity[PARITY - 1] = 0;
        for (byte, coefficient) in parity.iter_mut().zip(GENERATOR) {
            *byte ^= times(factor, coefficient);
        }
    }
}

/// Mends a word. Returns how many bytes were damaged; `None` if there are too many, and then
/// leaves it as it was.
pub(super) fn mend(word: &mut [u8; WORD]) -> Option<usize> {
    let syndromes = syndromes(word);
    if syndromes == [0; PARITY] {
        return Some(0);
    }
    let (locator, errors) = locator(&syndromes);
    if errors > PARITY / 2 {
        return None;
    }
    let mut mended = *word;
    let mut found = 0;
    for (at, byte) in mended.iter_mut().enumerate() {
        let inverse = power(255 - (WORD - 1 - at));
        if value(&locator, inverse) == 0 {
            *byte ^= damage(&locator, &syndromes, inverse)?;
            found += 1;
        }
    }
    // A locator with fewer roots than its degree, or a word that is none for all that.
    if found != errors || self::syndromes(&mended) != [0; PARITY] {
        return None;
    }
    *word = mended;
    Some(found)
}

/// What the word is at the roots; all 0 if it is a code word.
fn syndromes(word: &[u8; WORD]) -> [u8; PARITY] {
    core::array::from_fn(|root| {
        let root = power(root);
        word.iter().fold(0, |sum, &byte| times(sum, root) ^ byte)
    })
}

/// The polynomial, the lowest power first, whose roots say where bytes are damaged, and its
/// degree: Berlekamp and Massey's.
fn locator(syndromes: &[u8; PARITY]) -> ([u8; PARITY + 1], usize) {
    let mut locator = [0; PARITY + 1];
    locator[0] = 1;
    let mut before = locator;
    let (mut degree, mut since, mut last) = (0, 1, 1);
    for at in 0..PARITY {
        let terms = (1..=degree).map(|back| times(locator[back], syndromes[at - back]));
        let difference = terms.fold(syndromes[at], |sum, term| sum ^ term);
        if difference == 0 {
            since += 1;
            continue;
        }
        let kept = locator;
        let factor = divided(difference, last);
        for power in since..=PARITY {
            locator[power] ^= times(factor, before[power - since]);
        }
        if 2 * degree <= at {
            degree = at + 1 - degree;
            (before, last, since) = (kept, difference, 1);
        } else {
            since += 1;
        }
    }
    (locator, degree)
}

/// The value of a polynomial, the lowest power first.
fn value(polynomial: &[u8], at: u8) -> u8 {
    let coefficients = polynomial.iter().rev();
    coefficients.fold(0, |sum, &coefficient| times(sum, at) ^ coefficient)
}

/// What was added to the byte of this root: Forney's.
fn damage(locator: &[u8; PARITY + 1], syndromes: &[u8; PARITY], inverse: u8) -> Option<u8> {
    let evaluator: [u8; PARITY] = core::array::from_fn(|at| {
        let terms = (0..=at).map(|back| times(locator[back], syndromes[at - back]));
        terms.fold(0, |sum, term| sum ^ term)
    });
    // In this field the derivative has the odd powers, each one lower.
    let mut derivative = [0; PARITY];
    for at in (1..=PARITY).step_by(2) {
        derivative[at - 1] = locator[at];
    }
    let slope = value(&derivative, inverse);
    if slope == 0 {
        return None;
    }
    let damage = divided(value(&evaluator, inverse), slope);
    Some(divided(damage, inverse))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(seed: u8) -> [u8; WORD] {
        let mut word: [u8; WORD] = core::array::from_fn(|at| {
            let at = u8::try_from(at).unwrap();
            at.wrapping_mul(seed | 1).wrapping_add(seed)
        });
        append(&mut word);
        word
    }

    /// Computed by hand: (x + 1)(x + 2) … over this field, as RFC 6363's codes have it.
    #[test]
    fn the_generator_has_its_roots() {
        for root in 0..PARITY {
            let root = power(root);
            let sum = GENERATOR.iter().fold(1, |sum, &it| times(sum, root) ^ it);
            assert_eq!(sum, 0, "{root}");
        }
        // The sum of α⁰ to α¹⁵, and their product, α¹²⁰.
        assert_eq!((GENERATOR[0], GENERATOR[PARITY - 1]), (59, POWERS[120]));
    }

    #[test]
    fn eight_damaged_bytes_are_mended_wherever_they_are() {
        for seed in 0..=255_u8 {
            let whole = word(seed);
            assert_eq!(syndromes(&whole), [0; PARITY]);
            for count in 0..=8 {
                let mut damaged = whole;
                for nth in 0..count {
                    let at = (usize::from(seed) * 7 + nth * 31) % WORD;
                    damaged[at] ^= seed.wrapping_add(u8::try_from(nth).unwrap()) | 1;
                }
                assert_eq!(mend(&mut damaged), Some(count), "{seed}");
                assert_eq!(damaged, whole);
            }
        }
    }

    #[test]
    fn more_are_not_mended_to_what_it_was_not() {
        for seed in 0..=255_u8 {
            let mut damaged = word(seed);
            for nth in 0..9 {
                damaged[nth * 28 % WORD] ^= seed | 1;
            }
            let before = damaged;
            // One in 40,000 such words is another code word's.
            assert_eq!(mend(&mut damaged), None, "{seed}");
            assert_eq!(damaged, before);
        }
    }
}
