#include "position/music_transformer.h"

#include "core/error.h"
#include "position/shared/sequence.h"

namespace locant {

namespace {
constexpr const char* kMusicTransformerName = "music_transformer";
}

std::shared_ptr<const OffsetMap> music_transformer_gather(std::int64_t rows, std::int64_t Nq,
                                                          std::int64_t Nk) {
  require(rows >= 1, kMusicTransformerName, "a table of {} rows; there must be one at least", rows);
  check_last_queries(kMusicTransformerName, Nq, Nk);
  return sequence_gather(kMusicTransformerName, Nq, Nk, Nk - Nq,
                         [&](std::int64_t distance) { return music_transformer_row(rows, distance); });
}

void add_music_transformer(const MusicTransformer& music, std::int64_t D, std::int64_t Nq, std::int64_t Nk,
                           AttentionOptions& options, bool causal) {
  const int rank = music.table.defined() ? music.table.shape().rank() : 0;
  const std::int64_t R = rank >= 2 ? music.table.dim(-2) : 1;
  check_vectors(kMusicTransformerName, MusicTransformer::kTable, music.table, options.heads, R, D);
  options.terms.push_back(band_term(Side::query, music.table, music_transformer_gather(R, Nq, Nk)));
  if (!causal) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = Nk - Nq;
}

}  // namespace locant
