#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "core/pool.h"

namespace locant {

Tensor::Tensor(const Shape& shape) : data_(Pool::global().allocate(shape.numel())), shape_(shape) {}

Tensor Tensor::zeros(const Shape& shape) { return full(shape, 0.0f); }

Tensor Tensor::full(const Shape& shape, float value) {
  Tensor out(shape);
  out.fill(value);
  return out;
}

Tensor Tensor::from(const Shape& shape, std::span<const float> values) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel())
    fail("tensor", "{} values do not fill shape {}", values.size(), shape.str());
  Tensor out(shape);
  std::copy(values.begin(), values.end(), out.data());
  return out;
}

Tensor Tensor::borrowed(const Shape& shape, const float* data, std::shared_ptr<const void> owner) {
  Tensor out;
  out.shape_ = shape;
  out.borrowed_ = true;
  out.data_ = std::shared_ptr<float>(const_cast<float*>(data), [owner = std::move(owner)](float*) {});
  return out;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  if (shape.numel() != numel())
    fail("reshape", "{} does not hold as many numbers as {}", shape.str(), shape_.str());
  Tensor out = *this;
  out.shape_ = shape;
  return out;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  if (shape_.rank() == 0 || begin < 0 || end < begin || end > shape_[0])
    fail("slice", "rows [{}, {}) are not in shape {}", begin, end, shape_.str());
  std::vector<std::int64_t> extents(shape_.extents().begin(), shape_.extents().end());
  const std::int64_t row = shape_[0] == 0 ? 0 : numel() / shape_[0];
  extents[0] = end - begin;
  Tensor out = *this;
  out.shape_ = Shape(std::span<const std::int64_t>(extents));
  out.data_ = std::shared_ptr<float>(data_, data_.get() + begin * row);
  return out;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor out(shape_);
  std::memcpy(out.data(), data(), static_cast<std::size_t>(bytes()));
  return out;
}

void Tensor::fill(float value) { std::fill_n(data(), numel(), value); }

}  // namespace locant
