#include "core/plan/unit_geometry.h"

#include "tests/catch.h"

using seq1f1b::plan::UnitGeometry;

TEST_CASE("units lie one behind the other, as long as their segments", "[plan]") {
  const UnitGeometry units(2, std::vector<std::int64_t>{5, 4, 7});
  CHECK(units.tokens() == 16);
  CHECK(units.most_tokens() == 7);
  CHECK(units.most_rows() == 14);
  std::int64_t row = 0;
  for (const int micro_batch : {0, 1, 2})
    for (const int segment : {0, 1, 2}) {
      const auto& shape = units.shape({micro_batch, segment});
      CHECK(units.first_row({micro_batch, segment}) == row);
      CHECK(shape.start == (segment == 0 ? 0 : segment == 1 ? 5 : 9));
      CHECK(shape.batch_size == 2);
      CHECK(shape.capacity == 16);
      CHECK(units.bounds()[static_cast<std::size_t>(segment)].tokens >= shape.tokens);
      row += shape.rows();
    }
}
