//! Closed sets of values, each with a number for records and a name for people.

use core::fmt;

/// A number or a name that none of the values has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownValue;

impl fmt::Display for UnknownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such value")
    }
}

impl core::error::Error for UnknownValue {}

/// Declares an enum that is read from numbers by `TryFrom<u8>`, from names by `FromStr`,
/// and displays its name.
macro_rules! named {
    (
        $(#[$meta:meta])*
        $type:ident {
            $(#[$first_meta:meta])* $first:ident = $first_number:literal, $first_name:literal;
            $($(#[$value_meta:meta])* $value:ident = $number:literal, $name:literal;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum $type {
            $(#[$first_meta])* $first = $first_number,
            $($(#[$value_meta])* $value = $number,)*
        }

        impl $type {
            /// All values, by their numbers.
            pub const ALL: [Self; [$first_number, $($number),*].len()] =
                [Self::$first, $(Self::$value),*];

            /// The names of all values, for messages.
            pub const NAMES: &'static str = concat!($first_name, $(", ", $name),*);

            /// The value's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::$first => $first_name,
                    $(Self::$value => $name,)*
                }
            }
        }

        impl ::core::convert::TryFrom<u8> for $type {
            type Error = $crate::format::UnknownValue;

            fn try_from(number: u8) -> Result<Self, Self::Error> {
                match number {
                    $first_number => Ok(Self::$first),
                    $($number => Ok(Self::$value),)*
                    _ => Err($crate::format::UnknownValue),
                }
            }
        }

        impl ::core::str::FromStr for $type {
            type Err = $crate::format::UnknownValue;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $first_name => Ok(Self::$first),
                    $($name => Ok(Self::$value),)*
                    _ => Err($crate::format::UnknownValue),
                }
            }
        }

        impl ::core::fmt::Display for $type {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(crate) use named;
