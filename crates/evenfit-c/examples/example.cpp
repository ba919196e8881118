// Standard containers in a pool; checked, so that it is a test as well.
//
//     c++ -std=c++17 example.cpp $(pkg-config --cflags --libs evenfit) -o example && ./example
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include <evenfit.hpp>

static int failures;

#define EXPECT(condition) \
    ((condition) ? (void)0 : (void)(failures++, std::printf("line %d: not so: %s\n", __LINE__, #condition)))

struct alignas(64) Line {
    unsigned char bytes[64];
};

static std::size_t used(evf_heap *heap) {
    evf_stats_t stats{};
    stats.struct_bytes = sizeof stats;
    EXPECT(evf_stats(heap, &stats) == EVF_OK);
    return stats.used_bytes;
}

static void containers(evenfit::memory_resource &pool) {
    std::pmr::vector<int> numbers(&pool);
    std::pmr::map<int, std::pmr::string> names(&pool);
    std::pmr::unordered_map<std::pmr::string, std::pmr::vector<double>> series(&pool);
    std::pmr::vector<Line> lines(&pool);
    for (int i = 0; i < 1000; i++) {
        numbers.push_back(i);
        names.emplace(i, std::pmr::string(static_cast<std::size_t>(i % 70), 'x', &pool));
        series["series " + std::pmr::string(std::to_string(i % 10), &pool)].push_back(i * 0.5);
        if (i % 10 == 0) lines.push_back(Line{});
    }
    for (int i = 0; i < 1000; i += 2) names.erase(i);
    EXPECT(numbers[999] == 999 && names.size() == 500 && names.at(69).size() == 69);
    EXPECT(series["series 3"].back() == 993 * 0.5);
    EXPECT(names.at(33).get_allocator().resource() == &pool);
    for (const Line &line : lines) EXPECT(reinterpret_cast<std::uintptr_t>(&line) % 64 == 0);
    EXPECT(used(pool.heap()) > 1000 * sizeof(int));
    EXPECT(evf_check(pool.heap()) == EVF_OK);
}

static void exhaustion(evenfit::memory_resource &pool) {
    bool threw = false;
    try {
        std::pmr::vector<char> huge(100'000'000, &pool);
    } catch (const std::bad_alloc &) {
        threw = true;
    }
    EXPECT(threw);
    threw = false;
    std::pmr::vector<std::pmr::string> growing(&pool);
    try {
        for (;;) growing.emplace_back(1000, 'g');
    } catch (const std::bad_alloc &) {
        threw = true;
    }
    EXPECT(threw && growing.size() > 100 && growing.back().size() == 1000);
}

static void equality(evenfit::memory_resource &pool) {
    static unsigned char memory[16384];
    evenfit::memory_resource other(memory, sizeof memory), same(pool.heap());
    EXPECT(pool == same && pool != other && pool != *std::pmr::new_delete_resource());
    EXPECT(evenfit::allocator<int>(pool) == evenfit::allocator<char>(same));
    EXPECT(evenfit::allocator<int>(pool) != evenfit::allocator<int>(other));
    std::pmr::vector<int> here({1, 2, 3}, &pool), there(&other);
    there = std::move(here);  // Different pools: copied element by element.
    EXPECT(there.size() == 3 && there[2] == 3);
}

static void template_allocator(evenfit::memory_resource &pool) {
    using Strings = std::vector<std::string, evenfit::allocator<std::string>>;
    Strings strings{evenfit::allocator<std::string>(pool)};
    std::map<int, int, std::less<int>, evenfit::allocator<std::pair<const int, int>>> squares{
        evenfit::allocator<std::pair<const int, int>>(pool)};
    for (int i = 0; i < 300; i++) {
        strings.emplace_back("number " + std::to_string(i));
        squares[i] = i * i;
    }
    Strings moved = std::move(strings), copied = moved;
    EXPECT(moved.size() == 300 && copied[299] == "number 299" && squares[17] == 289);
    std::vector<Line, evenfit::allocator<Line>> lines(7, Line{}, evenfit::allocator<Line>(pool));
    EXPECT(reinterpret_cast<std::uintptr_t>(lines.data()) % 64 == 0);
}

class Watching : public evenfit::memory_resource {
public:
    using memory_resource::memory_resource;
    evf_status last = EVF_OK;

protected:
    void refused(void *, evf_status status) override { last = status; }
};

static void misuse() {
    static unsigned char memory[16384];
    Watching pool(memory, sizeof memory);
    void *block = pool.allocate(100, 8);
    pool.deallocate(block, 500, 8);
    EXPECT(pool.last == EVF_WRONG_LAYOUT);
    pool.deallocate(static_cast<char *>(block) + 16, 100, 8);
    EXPECT(pool.last == EVF_NOT_A_BLOCK);
    pool.deallocate(block, 100, 8);
    pool.deallocate(block, 100, 8);
    EXPECT(pool.last == EVF_ALREADY_FREE);
}

int main() {
    static unsigned char memory[1024 * 1024];
    evenfit::memory_resource pool(memory, sizeof memory);
    containers(pool);
    exhaustion(pool);
    equality(pool);
    template_allocator(pool);
    misuse();
    EXPECT(used(pool.heap()) == 0);
    bool threw = false;
    try {
        evenfit::memory_resource tiny(memory, 10);
    } catch (const std::invalid_argument &) {
        threw = true;
    }
    EXPECT(threw);
    evf_options_t options{};
    options.struct_bytes = sizeof options;
    options.tiers = EVF_BLOCKS_ONLY;
    options.max_bytes = sizeof memory;
    evenfit::memory_resource growing(memory, sizeof memory / 2, options);
    const std::size_t before = evf_largest_free(growing.heap());
    EXPECT(evf_extend(growing.heap(), sizeof memory / 2) > 0);
    EXPECT(evf_largest_free(growing.heap()) > before);
    containers(growing);
    std::printf("containers in a pool: %d failures\n", failures);
    return failures != 0;
}
