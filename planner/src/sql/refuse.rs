//! What SQL of a stream may not contain, found in the text as it was parsed.
