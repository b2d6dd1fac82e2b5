#include "position/music_transformer.h"

#include "core/error.h"
#include "position/score_instance.h"
#include "position/sequence.h"

namespace locant {

namespace {
constexpr const char* kName = "music_transformer";
}

std::shared_ptr<const GatherMap> music_transformer_gather(std::int64_t rows, std::int64_t Nq,
                                                          std::int64_t Nk) {
  require(rows >= 1, kName, "a table of {} rows; there must be one at least", rows);
  check_last_queries(kName, Nq, Nk);
  return sequence_gather(kName, Nq, Nk, Nk - Nq,
                         [&](std::int64_t distance) { return music_transformer_row(rows, distance); });
}

void add_music_transformer(const MusicTransformer& music, std::int64_t D, std::int64_t Nq, std::int64_t Nk,
                           AttentionOptions& options, bool causal) {
  const int rank = music.table.defined() ? music.table.shape().rank() : 0;
  const std::int64_t R = rank >= 2 ? music.table.dim(-2) : 1;
  check_vectors(kName, MusicTransformer::kTable, music.table, options.heads, R, D);
  options.terms.push_back(band_term(Side::query, music.table, music_transformer_gather(R, Nq, Nk)));
  if (!causal) return;
  options.visibility.causal = true;
  options.visibility.causal_offset = Nk - Nq;
}

namespace {

struct Form {
  bool per_head = false, causal = true;
  std::int64_t rows = 0;
};

Form form_of(const EncodingCase& c) {
  check_no_prefix(kName, c);
  check_last_queries(kName, c.Nq(), c.Nk());
  if (c.variant.empty()) return {.rows = c.Nk() + 2};
  if (c.variant == "per_head") return {.per_head = true, .rows = c.Nk()};
  if (c.variant == "unmasked") return {.causal = false, .rows = c.Nk() + 3};
  if (c.variant == "short_table") return {.per_head = true, .rows = (c.Nk() + 1) / 2};
  fail(kName, "unknown variant \"{}\"; there are per_head, unmasked, short_table", c.variant);
}

EncodingInstance instance(const EncodingCase& c) {
  const Form form = form_of(c);
  const std::int64_t past = c.Nk() - c.Nq();
  const Var table =
      random_parameter(form.per_head ? Shape{c.H, form.rows, c.D} : Shape{form.rows, c.D}, c.seed);
  return score_instance(
      c, {{MusicTransformer::kTable, table}},
      [c, form, table](const Context&, AttentionOptions& options) {
        add_music_transformer({table}, c.D, c.Nq(), c.Nk(), options, form.causal);
      },
      [form, past, none = Complexes(static_cast<std::size_t>(c.D))](const auto& call, const auto& x, auto b,
                                                                    auto h, auto i, auto j) {
        const std::int64_t distance = i + past - j, D = call.c.D;
        const auto* e = none.data();
        if (distance >= 0 && distance < form.rows)
          e = x[3].data() + ((form.per_head ? h * form.rows : 0) + form.rows - 1 - distance) * D;
        return music_transformer_score(call.query(b, h, i), call.key(b, h, j), e, D);
      },
      [form, past](auto i, auto j) { return !form.causal || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = {sequence_case(1, 1),
                                   sequence_case(2, 2),
                                   sequence_case(9, 9),
                                   sequence_case(3, 8),
                                   sequence_case(7, 7, "per_head"),
                                   sequence_case(7, 7, "unmasked"),
                                   sequence_case(4, 6, "unmasked"),
                                   sequence_case(9, 9, "short_table")};
  out.push_back(sequence_case(6, 6));
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const std::int64_t rows = form_of(c).rows;
  return index_matrix(c,
                      [&](auto i, auto j) { return music_transformer_row(rows, i + c.Nk() - c.Nq() - j); });
}

}  // namespace

const Encoding kMusicTransformer = {
    .name = "music_transformer",
    .header = "position/music_transformer.h",
    .title = "a learned vector per distance into the past, met by the query",
    .place = EncodingPlace::vectors,
    .paper = "Huang, Vaswani et al. 2018, Music Transformer, section 3.4",
    .models = "Music Transformer",
    .formula = "s = (q.k + q.Er[R - 1 - (i - j)]) / sqrt(D), j <= i",
    .lowering = "band term of Er; causal mask",
    .parameters = "N D, or N C with a table per head",
    .multiply_adds = "N^2 C",
    .memory = "0",
    .cases = cases,
    .make = instance,
    .index = index,
};

}  // namespace locant
