#include "core/base/user_path.h"

#include "tests/catch.h"

using seq1f1b::base::path_problem;

TEST_CASE("a path that a shell should have replaced is told") {
  for (const char* path : {"~", "~/run", "~ada/run"}) {
    CAPTURE(path);
    CHECK(path_problem(path).find(std::string("'") + path + "' begins with ~, ") == 0);
  }
  CHECK(path_problem("/a/${RUN}/b").find("'/a/${RUN}/b' holds ${RUN}, ") == 0);
  CHECK(path_problem("${RUN").find("'${RUN' holds ${RUN, ") == 0);
  CHECK(path_problem("a$b$RUN_1/c").find(" holds $b, ") != std::string::npos);
  CHECK(path_problem("x/$(pwd)").find(" holds $(pwd), ") != std::string::npos);
}

TEST_CASE("other paths are what they say") {
  for (const char* path : {"", "run", "./~", "a~", "/a/~b", "5$", "$5", "a$/b", "/a/b c"}) {
    CAPTURE(path);
    CHECK(path_problem(path).empty());
  }
}
