#include "position/learned_absolute.h"

#include <array>
#include <mutex>
#include <string>

#include "core/error.h"
#include "ops/elementwise.h"
#include "ops/layout.h"
#include "position/shared/sequence.h"

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

Var LearnedAbsolute::add_to(const Context& ctx, const Var& x, std::int64_t rows, std::int64_t columns) const {
  const Var grown = table(ctx, rows, columns);
  ctx.show([] { return "resampled pos_embed"; }, grown);
  return add(ctx, x, reshape(ctx, grown, {grown.dim(1), grown.dim(2)}));
}

Var LearnedAbsolute::resampled(const Context& ctx, std::int64_t rows, std::int64_t columns) const {
  const std::int64_t C = table_.dim(2), prefix = layout_.prefix;
  const Var own = prefix == 0 ? table_ : select_rows(ctx, table_, prefix, table_.dim(1));
  const Var grid = reshape(ctx, own, {1, layout_.rows, layout_.columns, C});
  const Var resized = resize(ctx, grid, rows, columns, layout_.resize.rule, layout_.resize.offset);
  const Var tokens = reshape(ctx, resized, {1, rows * columns, C});
  return prefix == 0 ? tokens : concat_rows(ctx, {select_rows(ctx, table_, 0, prefix), tokens});
}

}  // namespace locant
