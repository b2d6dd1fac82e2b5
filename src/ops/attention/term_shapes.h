#pragma once

#include "ops/attention/inputs.h"

namespace locant {

/// Throws Error ("[attention] ...") that names the term and both shapes when a term, the factor or the value
/// term does not fit the sizes of the call. Numbers that are no shapes are the kernel's to check
/// (kernels/attention_check.h), but for the rows that a map asks for: only here it is known of which shape.
void check_term_shapes(const AttentionInputs& in);

}  // namespace locant
