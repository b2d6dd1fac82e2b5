#include "position/t5_bucket.h"

#include "core/error.h"
#include "position/shared/sequence.h"

namespace locant {
namespace {
constexpr const char* kT5BucketName = "t5_bucket";
}

void add_t5_bucket(const T5Bucket& t5, std::int64_t Nq, std::int64_t Nk, std::int64_t past,
                   AttentionOptions& options) {
  const T5Buckets& b = t5.buckets;
  const std::int64_t side = b.bidirectional ? b.count / 2 : b.count;
  require(
      b.count >= 1 && b.count <= (1 << 20) && side >= 2 && (!b.bidirectional || b.count % 2 == 0) &&
          b.max_distance > side / 2,
      kT5BucketName,
      "{} buckets up to a distance of {}; there must be an even number of at least 4 for both directions, "
      "at least 2 for one, and the distance beyond the {} exact ones",
      b.count, b.max_distance, side / 2);
  check_table(kT5BucketName, T5Bucket::kTable, t5.table, {b.count, options.heads});
  options.terms.push_back(gather_term(
      t5.table,
      sequence_gather(kT5BucketName, Nq, Nk, past, [&](auto distance) { return t5_bucket(b, -distance); })));
  options.scale = 1.0f;
  if (b.bidirectional) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = past;
}

}  // namespace locant
