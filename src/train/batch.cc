#include "train/batch.h"

#include <algorithm>

#include "core/parallel.h"

namespace locant {

Tensor load_batch(const Dataset& data, const std::vector<std::int64_t>& rows, const Preprocess& form,
                  const std::function<Geometry(std::int64_t)>& geometry) {
  const std::int64_t plane = form.rows * form.columns, size = form.channels * plane;
  const auto batch = static_cast<std::int64_t>(rows.size());
  Tensor out({batch, form.channels, form.rows, form.columns});
  parallel_for(batch, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> planes(static_cast<std::size_t>(size));
    for (std::int64_t i = begin; i < end; ++i) {
      data.read(rows[static_cast<std::size_t>(i)], planes.data());
      float* picture = out.data() + i * size;
      if (geometry)
        transform_planes(planes.data(), form.channels, form.rows, form.columns, geometry(i), picture);
      else
        std::copy(planes.begin(), planes.end(), picture);
      for (std::int64_t c = 0; c < form.channels; ++c)
        for (float* x = picture + c * plane; x != picture + (c + 1) * plane; ++x)
          *x = static_cast<float>(form.normalised(static_cast<double>(*x), c));
    }
  });
  return out;
}

}  // namespace locant
