//! Strings of debug information that cannot be read: each costs a name, and the entry stays.

use gimli::{self, Attribute, AttributeValue, Reader, UnitRef};

/// The section of an attribute's string, if it cannot be read there.
pub(super) fn unreadable<R: Reader<Offset = usize>>(
    unit: UnitRef<'_, R>,
    attribute: &Attribute<R>,
) -> Option<&'static str> {
    let section = match attribute.value() {
        AttributeValue::DebugStrRef(_) | AttributeValue::DebugStrOffsetsIndex(_) => ".debug_str",
        AttributeValue::DebugLineStrRef(_) => ".debug_line_str",
        _ => return None,
    };
    // What has no name has no attribute that says so; a folder may be empty.
    let is_name = matches!(
        attribute.name(),
        gimli::DW_AT_name
            | gimli::DW_AT_producer
            | gimli::DW_AT_linkage_name
            | gimli::DW_AT_MIPS_linkage_name
    );
    let text = unit.attr_string(attribute.value());
    let is_unreadable = text.map_or(true, |text| is_name && text.is_empty());
    is_unreadable.then_some(section)
}
