#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/shape.h"

namespace locant {

/// A contiguous, row-major float32 array. Copies share storage, as in NumPy views; clone() copies the
/// numbers.
/// Threads: several may read one storage at once, through copies of their own; who writes must be alone.
class Tensor {
 public:
  /// No storage at all: `defined()` is false. Stands for "absent" (no bias, no gradient wanted).
  Tensor() = default;
  /// Uninitialised.
  explicit Tensor(const Shape& shape);

  static Tensor zeros(const Shape& shape);
  static Tensor full(const Shape& shape, float value);
  /// Copies; throws Error unless values.size() == shape.numel().
  static Tensor from(const Shape& shape, std::span<const float> values);
  /// Numbers owned by somebody else (a mapped file): never written by the library.
  static Tensor borrowed(const Shape& shape, const float* data, std::shared_ptr<const void> owner);

  bool defined() const { return data_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int axis) const { return shape_[axis]; }
  std::int64_t numel() const { return shape_.numel(); }
  std::int64_t bytes() const { return numel() * static_cast<std::int64_t>(sizeof(float)); }

  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  std::span<float> values() { return {data_.get(), static_cast<std::size_t>(numel())}; }
  std::span<const float> values() const { return {data_.get(), static_cast<std::size_t>(numel())}; }
  float& operator[](std::int64_t i) { return data_.get()[i]; }
  float operator[](std::int64_t i) const { return data_.get()[i]; }

  /// The same storage under another shape. Throws Error when the element counts differ.
  Tensor reshaped(const Shape& shape) const;
  /// Rows [begin, end) of the outermost axis, sharing storage.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  Tensor clone() const;
  void fill(float value);
  /// True when nobody else shares the storage and it may be written in place.
  bool unique() const { return data_.use_count() == 1 && !borrowed_; }
  /// True when the numbers belong to somebody else: clone() before writing.
  bool is_borrowed() const { return borrowed_; }

 private:
  std::shared_ptr<float> data_;
  Shape shape_{0};
  bool borrowed_ = false;
};

}  // namespace locant
