#include "position/music_transformer.h"

#include "position/catalogue/all.h"
#include "position/catalogue/score_instance.h"
#include "position/shared/sequence.h"

namespace locant {
namespace music_transformer_encoding {
namespace {

struct Form {
  bool per_head = false, causal = true;
  std::int64_t rows = 0;
};

Form form_of(const EncodingCase& c) {
  if (c.variant == "per_head") return {.per_head = true, .rows = c.Nk()};
  if (c.variant == "unmasked") return {.causal = false, .rows = c.Nk() + 3};
  if (c.variant == "short_table") return {.per_head = true, .rows = (c.Nk() + 1) / 2};
  return {.rows = c.Nk() + 2};
}

EncodingInstance instance(const EncodingCase& c) {
  check_last_queries("music_transformer", c.Nq(), c.Nk());
  const Form form = form_of(c);
  const std::int64_t past = c.Nk() - c.Nq();
  const Var table =
      random_parameter(form.per_head ? Shape{c.H, form.rows, c.D} : Shape{form.rows, c.D}, c.seed);
  return score_instance(
      c, {{MusicTransformer::kTable, table}},
      [c, form, table](const Context&, AttentionOptions& options) {
        add_music_transformer({table}, c.D, c.Nq(), c.Nk(), options, form.causal);
      },
      [form, past, none = Complexes(static_cast<std::size_t>(c.D))](const PlainCall& call, auto b, auto h,
                                                                    auto i, auto j) {
        const std::int64_t distance = i + past - j, D = call.c.D;
        const auto* e = none.data();
        if (distance >= 0 && distance < form.rows)
          e = call.x[3].data() + ((form.per_head ? h * form.rows : 0) + form.rows - 1 - distance) * D;
        return music_transformer_score(call.query(b, h, i), call.key(b, h, j), e, D);
      },
      [form, past](auto i, auto j) { return !form.causal || j <= i + past; });
}

std::vector<EncodingCase> cases() {
  std::vector<EncodingCase> out = sequence_cases({{1, 1},
                                                  {2, 2},
                                                  {9, 9},
                                                  {3, 8},
                                                  {7, 7, "per_head"},
                                                  {7, 7, "unmasked"},
                                                  {4, 6, "unmasked"},
                                                  {9, 9, "short_table"},
                                                  {6, 6}});
  out.back().D = 1, out.back().Dv = 3, out.back().H = 3;
  return out;
}

std::vector<std::int64_t> index(const EncodingCase& c) {
  const std::int64_t rows = form_of(c).rows;
  return index_matrix(c,
                      [&](auto i, auto j) { return music_transformer_row(rows, i + c.Nk() - c.Nq() - j); });
}

}  // namespace
}  // namespace music_transformer_encoding

const Encoding kMusicTransformer = {
    .name = "music_transformer",
    .title = "a learned vector per distance into the past, met by the query",
    .place = EncodingPlace::vectors,
    .paper = "Huang, Vaswani et al. 2018, Music Transformer, section 3.4",
    .models = "Music Transformer",
    .formula = "s = (q.k + q.Er[R - 1 - (i - j)]) / sqrt(D), j <= i",
    .lowering = "band term of Er; causal mask",
    .parameters = "N D, or N C with a table per head",
    .multiply_adds = "N^2 C",
    .memory = "0",
    .variants = {"per_head", "unmasked", "short_table"},
    .cases = music_transformer_encoding::cases,
    .instance = music_transformer_encoding::instance,
    .index = music_transformer_encoding::index,
};

}  // namespace locant
