#include "position/learned_absolute.h"

#include <array>
#include <mutex>
#include <string>

#include "core/error.h"
#include "ops/layout.h"
#include "position/picture.h"
#include "position/sequence.h"
#include "position/token_instance.h"

namespace locant {
namespace {

struct NamedResize {
  std::string_view name;
  PositionResize resize;
};

constexpr std::array<NamedResize, 7> kResizes = {{
    {"none", {false, ResizeRule::bicubic, 0.0}},
    {"bicubic", {true, ResizeRule::bicubic, 0.0}},
    {"bicubic_offset", {true, ResizeRule::bicubic, 0.1}},
    {"bicubic_antialias", {true, ResizeRule::bicubic_antialias, 0.0}},
    {"bicubic_corners", {true, ResizeRule::bicubic_corners, 0.0}},
    {"bilinear", {true, ResizeRule::bilinear, 0.0}},
    {"bilinear_antialias", {true, ResizeRule::bilinear_antialias, 0.0}},
}};

}  // namespace

PositionResize parse_position_resize(std::string_view name) {
  std::string known;
  for (const NamedResize& entry : kResizes) {
    if (entry.name == name) return entry.resize;
    known += known.empty() ? "" : ", ";
    known += entry.name;
  }
  fail("learned_absolute", "no resize rule is called \"{}\"; there are {}", name, known);
}

struct LearnedAbsolute::Cache {
  std::mutex mutex;
  std::int64_t rows = 0, columns = 0;
  Tensor source;  // of the kept numbers: a new assignment to the parameter makes them stale
  Var resampled;
};

LearnedAbsolute::LearnedAbsolute(Var table, const Layout& layout)
    : table_(std::move(table)), layout_(layout), cache_(std::make_shared<Cache>()) {
  if (!table_.value().defined()) return;  // shapes only
  const Shape& shape = table_.shape();
  const std::int64_t rows = layout.prefix + layout.rows * layout.columns;
  require(layout.prefix >= 0 && layout.rows >= 0 && layout.columns >= 0 && shape.rank() == 3 &&
              shape[0] == 1 && shape[1] == rows,
          "learned_absolute",
          "a table of shape {} for {} prefix rows and a grid of {} x {}; (1, {}, C) was expected",
          shape.str(), layout.prefix, layout.rows, layout.columns, rows);
}

Var LearnedAbsolute::table(const Context& ctx, std::int64_t rows, std::int64_t columns) const {
  check_table("learned_absolute", "the table", table_, table_.shape());
  if (rows == layout_.rows && columns == layout_.columns) return table_;
  require(layout_.resize.allowed, "learned_absolute",
          "the position table is made for a grid of {} x {} and this model does not resize it to {} x {}; "
          "give an "
          "image of the model's own size or set pos_resize",
          layout_.rows, layout_.columns, rows, columns);
  if (ctx.tape != nullptr && table_.requires_grad()) return resampled(ctx, rows, columns);

  const std::lock_guard<std::mutex> lock(cache_->mutex);
  // A trained table changes in place: only a table without gradient is worth keeping.
  const bool fresh = cache_->rows == rows && cache_->columns == columns && !table_.requires_grad() &&
                     cache_->source.data() == table_.value().data();
  if (!fresh) {
    cache_->resampled = resampled(Context{}, rows, columns);
    cache_->source = table_.value();
    cache_->rows = rows;
    cache_->columns = columns;
  }
  return cache_->resampled;
}

Var LearnedAbsolute::resampled(const Context& ctx, std::int64_t rows, std::int64_t columns) const {
  const std::int64_t C = table_.dim(2), prefix = layout_.prefix;
  const Var own = prefix == 0 ? table_ : select_rows(ctx, table_, prefix, table_.dim(1));
  const Var grid = reshape(ctx, own, {1, layout_.rows, layout_.columns, C});
  const Var resized = resize(ctx, grid, rows, columns, layout_.resize.rule, layout_.resize.offset);
  const Var tokens = reshape(ctx, resized, {1, rows * columns, C});
  return prefix == 0 ? tokens : concat_rows(ctx, {select_rows(ctx, table_, 0, prefix), tokens});
}

namespace {

// The table is made for 3 x 3; another grid takes it through the bilinear rule.
constexpr std::int64_t kOwnSide = 3;

// Row `at` of n resampled from kOwnSide: the two taps of a line through the centres of cells.
struct Taps {
  std::int64_t low, high;
  double share;  ///< of the higher
};
Taps taps(std::int64_t at, std::int64_t n) {
  const double where =
      (static_cast<double>(at) + 0.5) * static_cast<double>(kOwnSide) / static_cast<double>(n) - 0.5;
  const double clamped = where < 0 ? 0 : where;
  const auto low = static_cast<std::int64_t>(clamped);
  return {low, low + 1 < kOwnSide ? low + 1 : low, clamped - static_cast<double>(low)};
}

bool on_own_grid(const EncodingCase& c) { return c.query.rows == kOwnSide && c.query.columns == kOwnSide; }

Var table_of(const EncodingCase& c) {
  return random_parameter({1, c.prefix + kOwnSide * kOwnSide, c.H * c.D}, c.seed);
}

LearnedAbsolute encoding_of(const EncodingCase& c, const Var& table) {
  return {table, {kOwnSide, kOwnSide, c.prefix, parse_position_resize(on_own_grid(c) ? "none" : "bilinear")}};
}

EncodingInstance instance(const EncodingCase& c) {
  const std::int64_t C = c.H * c.D;
  const bool own = on_own_grid(c);
  check_tokens("learned_absolute", c, c.prefix + c.query.rows * c.query.columns);
  require(c.variant.empty() || c.variant == "bilinear", "learned_absolute",
          "no variant \"{}\"; there is bilinear, by which grids other than {} x {} are made", c.variant,
          kOwnSide, kOwnSide);
  const Var table = table_of(c);
  const LearnedAbsolute encoding = encoding_of(c, table);
  return token_instance(
      c, {{"pos_embed", table}},
      [=](const Context& ctx) { return encoding.table(ctx, c.query.rows, c.query.columns); },
      [=](const std::vector<Complexes>& x, std::int64_t token, std::int64_t channel) {
        const auto at = [&](std::int64_t row) { return x[3][static_cast<std::size_t>(row * C + channel)]; };
        if (token < c.prefix || own) return at(token);
        const Taps y = taps((token - c.prefix) / c.query.columns, c.query.rows);
        const Taps z = taps((token - c.prefix) % c.query.columns, c.query.columns);
        const auto line = [&](std::int64_t row) {
          const std::int64_t first = c.prefix + row * kOwnSide;
          return (1.0 - z.share) * at(first + z.low) + z.share * at(first + z.high);
        };
        return (1.0 - y.share) * line(y.low) + y.share * line(y.high);
      });
}

std::vector<EncodingCase> cases() {
  const Grid own{1, kOwnSide, kOwnSide};
  return {
      {.B = 2, .query = own, .key = own},
      {.H = 3, .Dv = 2, .query = own, .key = own, .prefix = 2},
      {.query = {1, 5, 4}, .key = {1, 5, 4}, .prefix = 1, .variant = "bilinear"},
      {.query = {1, 1, 2}, .key = {1, 1, 2}, .variant = "bilinear"},
  };
}

// The channels of the table as the grid takes it, a panel each; the prefix has no place in it.
Tensor picture(const EncodingCase& c) {
  const LearnedAbsolute encoding = encoding_of(c, table_of(c));
  return channel_panels(encoding.table({}, c.query.rows, c.query.columns).value(), c.query, c.prefix);
}

}  // namespace

const Encoding kLearnedAbsolute = {
    .name = "learned_absolute",
    .header = "position/learned_absolute.h",
    .title = "a learned row per token, resized to other grids by seven rules",
    .place = EncodingPlace::tokens,
    .paper = "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words, equation 1",
    .models = "ViT, DeiT, DINOv2, SAM, ViTDet",
    .formula = "x_n + p_n",
    .lowering = "added to the tokens",
    .parameters = "N C",
    .multiply_adds = "0; on another grid 16 N C once",
    .memory = "N C",
    .cases = cases,
    .make = instance,
    .picture = picture,
};

}  // namespace locant
