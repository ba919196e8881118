// evenfit for C++17 and later: a header-only wrapper of evenfit.h.
//
//     alignas(16) static unsigned char memory[65536];
//     evenfit::memory_resource pool(memory, sizeof memory);
//     std::pmr::vector<int> numbers(&pool);
//     numbers.push_back(42);
//
// Link with -levenfit. Without exceptions, exhaustion ends the program by std::abort.
#ifndef EVENFIT_HPP
#define EVENFIT_HPP

#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <type_traits>

#include "evenfit.h"

namespace evenfit {

namespace detail {

[[noreturn]] inline void exhausted() {
#if defined(__cpp_exceptions)
    throw std::bad_alloc();
#else
    std::abort();
#endif
}

inline evf_heap *build(void *memory, std::size_t bytes, const evf_options_t *options) {
    evf_heap *heap = nullptr;
    const evf_status status = evf_init_with(memory, bytes, options, &heap);
    if (status != EVF_OK) {
#if defined(__cpp_exceptions)
        throw std::invalid_argument(evf_message(status));
#else
        std::abort();
#endif
    }
    return heap;
}

inline void *allocate(evf_heap *heap, std::size_t bytes, std::size_t alignment) {
    void *block = evf_alloc_aligned(heap, alignment, bytes);
    if (block == nullptr) exhausted();
    return block;
}

}  // namespace detail

// A pool as a std::pmr::memory_resource. It does not own its memory; its destructor frees nothing.
// Threads may share it if the heap has a lock: see evf_set_lock.
class memory_resource : public std::pmr::memory_resource {
public:
    // Builds a heap in `bytes` bytes at `memory`. Throws std::invalid_argument if that fails.
    memory_resource(void *memory, std::size_t bytes)
        : heap_(detail::build(memory, bytes, nullptr)) {}

    // As above, with options: blocks only, or a pool that `evf_extend(pool.heap(), ...)` extends.
    memory_resource(void *memory, std::size_t bytes, const evf_options_t &options)
        : heap_(detail::build(memory, bytes, &options)) {}

    // Uses a heap that evf_init built.
    explicit memory_resource(evf_heap *heap) noexcept : heap_(heap) {}

    memory_resource(const memory_resource &) = delete;
    memory_resource &operator=(const memory_resource &) = delete;

    evf_heap *heap() const noexcept { return heap_; }

protected:
    // Called with a pointer that was refused: no live block of this pool, or one of another size or
    // alignment. Ends the program unless overridden. If it returns, the call has had no effect.
    virtual void refused(void *pointer, evf_status status) {
        (void)pointer;
        (void)status;
        std::terminate();
    }

    void *do_allocate(std::size_t bytes, std::size_t alignment) override {
        return detail::allocate(heap_, bytes, alignment);
    }

    void do_deallocate(void *pointer, std::size_t bytes, std::size_t alignment) override {
        const evf_status status = evf_free_aligned_sized(heap_, pointer, alignment, bytes);
        if (status != EVF_OK) refused(pointer, status);
    }

    // Two resources are equal if they use the same pool.
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override {
        if (this == &other) return true;
#if defined(__cpp_rtti)
        const auto *resource = dynamic_cast<const memory_resource *>(&other);
        return resource != nullptr && resource->heap_ == heap_;
#else
        return false;
#endif
    }

private:
    evf_heap *heap_;
};

// A pool as the allocator of a container: std::vector<int, evenfit::allocator<int>>. It has the
// size of a pointer; two are equal if they use the same pool. A pointer that the pool refuses ends
// the program.
template <class T>
class allocator {
public:
    using value_type = T;
    using propagate_on_container_copy_assignment = std::true_type;
    using propagate_on_container_move_assignment = std::true_type;
    using propagate_on_container_swap = std::true_type;
    using is_always_equal = std::false_type;

    explicit allocator(evf_heap *heap) noexcept : heap_(heap) {}
    explicit allocator(const memory_resource &resource) noexcept : heap_(resource.heap()) {}
    template <class U>
    allocator(const allocator<U> &other) noexcept : heap_(other.heap()) {}

    [[nodiscard]] T *allocate(std::size_t count) {
        if (count > static_cast<std::size_t>(-1) / sizeof(T)) detail::exhausted();
        return static_cast<T *>(detail::allocate(heap_, count * sizeof(T), alignof(T)));
    }

    void deallocate(T *pointer, std::size_t count) noexcept {
        const evf_status status =
            evf_free_aligned_sized(heap_, pointer, alignof(T), count * sizeof(T));
        if (status != EVF_OK) std::terminate();
    }

    evf_heap *heap() const noexcept { return heap_; }

private:
    evf_heap *heap_;
};

template <class T, class U>
bool operator==(const allocator<T> &left, const allocator<U> &right) noexcept {
    return left.heap() == right.heap();
}

template <class T, class U>
bool operator!=(const allocator<T> &left, const allocator<U> &right) noexcept {
    return !(left == right);
}

}  // namespace evenfit

#endif  // EVENFIT_HPP
