#pragma once

#include "ops/attention_inputs.h"

namespace locant {

/// Throws Error ("[attention] ...") that names the term and both shapes when a term, the factor or the value
/// term does not fit the sizes of the call.
void check_attention_terms(const AttentionInputs& in);

}  // namespace locant
