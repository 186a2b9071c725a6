import Transformer

/// Several coordinators' requests for one layer, computed as one batch, so that each expert's weights are read once.
///
/// What a row gives does not depend on the rows beside it, so each answer has the bytes that it would have had alone.
final class JointBatch {
    private var members: [RequestHandler] = []
    private var values = AlignedBytes(), scales = AlignedBytes(), outputs = AlignedBytes()
    private var assignments: [ExpertAssignment] = []

    /// A request joins others only when it is at most so many times as large as they are together: a few rows gain
    /// little by sharing weights with many, and would have to wait for them.
    static let mostTimesLarger = 8

    /// Answers what waits at `handlers`: the smallest request first, together with those of its kind.
    /// - Parameter failing: told of a socket that failed.
    func answer(_ handlers: [RequestHandler], failing: (RequestHandler, any Error) -> Void) {
        while let first = Self.smallest(handlers, where: { _ in true }) {
            gather(first, handlers)
            let isJoint = members.count > 1 && compute()
            var slot = 0
            for member in members {
                let size = member.size
                do {
                    if isJoint {
                        try member.answer(with: outputs.start + slot * member.format.outputBytes)
                    } else {
                        try member.answer()
                    }
                } catch { failing(member, error) }
                slot += size
            }
        }
        // They may be gone before the next batch.
        members.removeAll(keepingCapacity: true)
    }

    /// Finds out who goes together with `first`.
    private func gather(_ first: RequestHandler, _ handlers: [RequestHandler]) {
        members.removeAll(keepingCapacity: true)
        members.append(first)
        var size = first.size
        while let next = Self.smallest(
            handlers,
            where: { handler in
                handler.experts === first.experts && handler.request?.layer == first.request?.layer
                    && !members.contains { $0 === handler }
            }), next.size <= size * Self.mostTimesLarger
        {
            members.append(next)
            size += next.size
        }
    }

    private static func smallest(
        _ handlers: [RequestHandler], where isEligible: (RequestHandler) -> Bool
    ) -> RequestHandler? {
        var smallest: RequestHandler?
        for handler in handlers where handler.size > 0 && handler.size < smallest?.size ?? .max && isEligible(handler) {
            smallest = handler
        }
        return smallest
    }

    /// Fills `outputs`, member after member. False when it cannot be done: then one of them may be to blame, and each is
    /// to be answered for itself.
    private func compute() -> Bool {
        guard let first = members.first, let layer = first.request?.layer else { return false }
        let format = first.format
        let rows = members.reduce(0) { $0 + $1.rows }
        values.reserve(rows * format.valueBytes)
        scales.reserve(rows * format.scaleBytes)
        outputs.reserve(members.reduce(0) { $0 + $1.size } * format.outputBytes)
        assignments.removeAll(keepingCapacity: true)
        var row = 0
        for member in members {
            (values.start + row * format.valueBytes)
                .copyMemory(from: member.valuesStart, byteCount: member.rows * format.valueBytes)
            (scales.start + row * format.scaleBytes)
                .copyMemory(from: member.scalesStart, byteCount: member.rows * format.scaleBytes)
            for assignment in member.assignments {
                assignments.append(
                    ExpertAssignment(
                        row: assignment.row + Int32(row), expert: assignment.expert, slot: Int32(assignments.count)))
            }
            row += member.rows
        }
        return assignments.withUnsafeBufferPointer {
            let batch = ExpertBatch(
                layer: layer, rowCount: rows, values: values.start, scales: scales.start, assignments: $0,
                outputs: outputs.start)
            do {
                try first.experts.beginStep()
                try first.experts.run(batch)
                return true
            } catch { return false }
        }
    }
}

extension RequestHandler {
    /// Assignments of the request that waits; 0 for none.
    var size: Int { request?.assignments ?? 0 }
    fileprivate var rows: Int { request?.rows ?? 0 }
}
