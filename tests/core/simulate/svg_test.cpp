#include <string>

#include "core/simulate/timeline.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b;
using namespace seq1f1b::simulate;
using schedule::make_schedule;

namespace {

std::string draw(const schedule::Schedule& schedule, const std::string& title = "title") {
  return to_svg(schedule, simulate::simulate(schedule, unit_cost(schedule)), title);
}

int count(const std::string& text, const std::string& part) {
  int times = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
    ++times;
  return times;
}

// Every element is closed by itself or by its own end, and quotes come in pairs.
bool well_formed(const std::string& text) {
  std::vector<std::string> open;
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    const std::size_t end = text.find('>', at);
    if (end == std::string::npos) return false;
    const std::string tag = text.substr(at + 1, end - at - 1);
    if (count(tag, "\"") % 2 != 0 || tag.find('<') != std::string::npos) return false;
    if (tag.back() == '/') continue;
    const std::string name = tag.substr(0, tag.find(' '));
    if (name[0] != '/') {
      open.push_back(name);
    } else {
      if (open.empty() || name != "/" + open.back()) return false;
      open.pop_back();
    }
  }
  return open.empty();
}

}  // namespace

TEST_CASE("a picture has a row per rank, a box per action, and the bubble") {
  const std::string svg = draw(make_schedule({"seq1f1b", 4, 1, 4, 2}));
  CHECK(well_formed(svg));
  CHECK(count(svg, ">rank ") == 4);
  CHECK(count(svg, "<title>forward ") == 4 * 8);
  CHECK(count(svg, "<title>backward ") == 4 * 8);
  CHECK(count(svg, ">3.2</text>") == 2 * 4);  // every box has room for its label here
  CHECK(count(svg, "bubble 27.3 %") == 1);
  CHECK(count(svg, ">weight grad<") == 0);
}

TEST_CASE("a title stays between the margins, whatever its length") {
  const auto schedule = make_schedule({"1f1b", 1, 1, 1, 1});
  // 0.66 of the font size: the mean width of bold DejaVu Sans, which librsvg takes on Debian.
  for (const std::size_t length : {1, 10, 72, 73, 100, 132, 133, 1000}) {
    const std::string svg = draw(schedule, std::string(length, 'x'));
    CHECK(well_formed(svg));
    const std::size_t begin = svg.find("<text class=\"t\"");
    const std::string element = svg.substr(begin, svg.find("</text>", begin) - begin);
    const double font = std::stod(element.substr(element.find("font-size:") + 10));
    const std::string shown = element.substr(element.find('>') + 1);
    INFO(element);
    CHECK(font <= 20);
    CHECK(font >= 10.99);
    CHECK(0.66 * font * static_cast<double>(shown.size()) <= 960.5);
    if (length <= 72) CHECK(font == 20);
    if (length <= 132) CHECK(shown.size() == length);
    if (length > 132) CHECK(shown.ends_with("..."));
    CHECK(svg.find("<title>" + std::string(length, 'x') + "</title>") != std::string::npos);
  }
}

TEST_CASE("titles are escaped") {
  const std::string svg = draw(make_schedule({"1f1b", 1, 1, 1, 1}), "a < b & \"c\"");
  CHECK(well_formed(svg));
  CHECK(count(svg, "a &lt; b &amp; &quot;c&quot;") == 2);
}

TEST_CASE("labels give way when boxes are many, boxes never") {
  const std::string svg = draw(make_schedule({"seq1f1b", 16, 1, 64, 16}));
  CHECK(well_formed(svg));
  CHECK(count(svg, "<rect class=\"F") == 16 * 1024 + 1);  // the legend has one
  CHECK(count(svg, "<rect class=\"B") == 16 * 1024 + 1);
  CHECK(count(svg, ".1</text>") == 0);
  CHECK(count(svg, ">rank 15<") == 1);
}

TEST_CASE("split backwards and chunks are drawn") {
  const std::string split = draw(schedule::zero_bubble(2, 4, 1));
  CHECK(well_formed(split));
  CHECK(count(split, ">weight grad<") == 1);
  CHECK(count(split, "<rect class=\"W") == 2 * 4 + 1);
  const std::string chunks = draw(schedule::v_placement(2, 1));
  CHECK(count(chunks, " chunk\"") == 2 * 2);
}
