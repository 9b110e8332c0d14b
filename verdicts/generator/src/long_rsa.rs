//! RSA keys with long moduli that are generated, and sign, quickly: the modulus is a product of many small primes, each
//! one above a divisor of one smooth number, so that the private exponent is short. A verifier does not see the
//! difference.

use std::sync::LazyLock;

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, ConcatenatingMul as _, Odd, Resize as _};

/// The factors of the smooth number, with their multiplicity.
const FACTORS: [(u64, u32); 11] =
    [(2, 6), (3, 3), (5, 2), (7, 1), (11, 1), (13, 1), (17, 1), (19, 1), (23, 1), (29, 1), (31, 1)];
/// Lower bound of the primes.
const PRIME_MIN: u64 = 1 << 16;

/// Primes that are one above a divisor of the smooth number, in ascending order.
static PRIMES: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let mut divisors = vec![1_u64];
    for (factor, times) in FACTORS {
        divisors =
            divisors.iter().flat_map(|&divisor| (0..=times).map(move |power| divisor * factor.pow(power))).collect();
    }
    let mut primes: Vec<_> =
        divisors.into_iter().map(|divisor| divisor + 1).filter(|&n| n > PRIME_MIN && is_prime(n)).collect();
    primes.sort_unstable();
    primes
});

/// A key with a long modulus.
#[derive(Clone, Debug)]
pub struct LongKey {
    modulus: Box<[u8]>,
    odd: Odd<BoxedUint>,
}

impl LongKey {
    /// The public exponent: the largest that is accepted.
    pub const EXPONENT: u32 = 0x7fff_ffff;

    /// Generates a key with a modulus of this many octets. Each number gives another key.
    pub fn new(octets: usize, number: usize) -> Option<Self> {
        let wanted = u32::try_from(octets * 8).ok()?;
        let mut left: Vec<u64> = PRIMES.clone();
        // the larger primes, beginning at another one for each key
        let from = left.len() / 2;
        let count = left.len() - from;
        left[from..].rotate_left(number * 7 % count);
        let mut modulus = BoxedUint::one();
        loop {
            let missing = wanted - modulus.bit_width_vartime();
            let of_bits = |least: u32, most: u32| {
                left.iter().rposition(|prime| (least..=most).contains(&(u64::BITS - prime.leading_zeros())))
            };
            let place = match missing {
                0..=7 => break,
                // the last prime, and the last but one
                8..=33 => of_bits(missing.saturating_sub(6), missing)?,
                34..=99 => of_bits(17, missing / 2)?,
                _ => left.len() - 1,
            };
            let prime = left.remove(place);
            modulus = modulus.concatenating_mul(&BoxedUint::from(prime));
            modulus = BoxedUint::from_be_slice_vartime(&modulus.to_be_bytes_trimmed_vartime());
        }
        let octets = modulus.to_be_bytes_trimmed_vartime();
        let odd = Odd::new(modulus).into_option()?;
        Some(Self { modulus: octets, odd })
    }

    /// Returns the modulus.
    pub fn modulus(&self) -> &[u8] {
        &self.modulus
    }

    /// Signs the octets `info` (PKCS #1 v1.5).
    pub fn sign(&self, info: &[u8]) -> Vec<u8> {
        let length = self.modulus.len();
        let filling = vec![0xff; length.saturating_sub(info.len() + 3)];
        let padded = [&[0, 1][..], &filling, &[0], info].concat();
        let params = BoxedMontyParams::new_vartime(self.odd.clone());
        let number = BoxedUint::from_be_slice_vartime(&padded).resize_unchecked(self.odd.as_ref().bits_precision());
        let power = BoxedMontyForm::new(number, &params).pow(&BoxedUint::from(private_exponent())).retrieve();
        let octets = power.to_be_bytes_trimmed_vartime();
        [&vec![0; length.saturating_sub(octets.len())][..], &octets].concat()
    }
}

/// Returns the inverse of the public exponent modulo the smooth number.
fn private_exponent() -> u64 {
    let smooth: u64 = FACTORS.iter().map(|(factor, times)| factor.pow(*times)).product();
    let (mut old, mut new) = ((i128::from(LongKey::EXPONENT), 1_i128), (i128::from(smooth), 0_i128));
    while new.0 != 0 {
        let quotient = old.0 / new.0;
        (old, new) = (new, (old.0 - quotient * new.0, old.1 - quotient * new.1));
    }
    u64::try_from(old.1.rem_euclid(i128::from(smooth))).unwrap_or_default()
}

/// Performs the Miller-Rabin test, with bases that suffice for 64 bits.
fn is_prime(number: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if let Some(factor) = BASES.iter().find(|base| number.is_multiple_of(**base)) {
        return number == *factor;
    }
    let multiply =
        |a: u64, b: u64| u64::try_from(u128::from(a) * u128::from(b) % u128::from(number)).unwrap_or_default();
    let power = |base: u64, exponent: u64| {
        let (mut result, mut square, mut left) = (1, base, exponent);
        while left > 0 {
            if left & 1 == 1 {
                result = multiply(result, square);
            }
            square = multiply(square, square);
            left >>= 1;
        }
        result
    };
    let twos = (number - 1).trailing_zeros();
    BASES.iter().all(|&base| {
        let mut at = power(base, (number - 1) >> twos);
        if at == 1 || at == number - 1 {
            return true;
        }
        (1..twos).any(|_| {
            at = multiply(at, at);
            at == number - 1
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_have_their_length_and_sign() {
        for octets in [512, 1024, 2048] {
            let keys = [0, 1, 9].map(|number| LongKey::new(octets, number).expect("a key"));
            assert_ne!(keys[0].modulus(), keys[1].modulus());
            for key in keys {
                assert_eq!(key.modulus().len(), octets);
                let signature = key.sign(&[7; 51]);
                let params = BoxedMontyParams::new_vartime(key.odd.clone());
                let number =
                    BoxedUint::from_be_slice_vartime(&signature).resize_unchecked(key.odd.as_ref().bits_precision());
                let back = BoxedMontyForm::new(number, &params).pow(&BoxedUint::from(LongKey::EXPONENT)).retrieve();
                assert!(back.to_be_bytes().ends_with(&[&[0xff, 0][..], &[7; 51]].concat()));
            }
        }
    }
}
