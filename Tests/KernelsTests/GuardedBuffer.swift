import Foundation

/// Memory whose last element ends at an inaccessible page, so that a kernel that touches one byte too many crashes.
final class GuardedBuffer<Element> {
    let count: Int
    private let mapping: UnsafeMutableRawPointer
    private let mappedBytes: Int
    let start: UnsafeMutablePointer<Element>

    init(repeating value: Element, count: Int) {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let bytes = count * MemoryLayout<Element>.stride
        let dataBytes = (bytes + page - 1) / page * page
        mappedBytes = dataBytes + page
        guard let mapping = mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            mapping != MAP_FAILED, mprotect(mapping + dataBytes, page, PROT_NONE) == 0
        else { fatalError("cannot map \(mappedBytes) bytes") }
        self.mapping = mapping
        self.count = count
        start = (mapping + (dataBytes - bytes)).bindMemory(to: Element.self, capacity: count)
        start.initialize(repeating: value, count: count)
    }

    convenience init(_ elements: [Element]) {
        precondition(!elements.isEmpty)
        self.init(repeating: elements[0], count: elements.count)
        for (index, element) in elements.enumerated() { start[index] = element }
    }

    deinit { munmap(mapping, mappedBytes) }

    var elements: [Element] { Array(UnsafeBufferPointer(start: start, count: count)) }
}
