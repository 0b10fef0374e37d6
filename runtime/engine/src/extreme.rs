//! The least and the greatest floating-point number of a group.
//!
//! DataFusion's accumulators begin at the largest finite number, which is then the least of a group of infinities, and what they make of
//! NaN depends on the order of rows. Here the order is total, as in PostgreSQL: `-0.0 < 0.0`, and NaN is greater than all numbers.
use std::cmp::Ordering;

use arrow::array::{ArrowNativeTypeOp, ArrowPrimitiveType};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use datafusion_expr::GroupsAccumulator;
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;
use tidewheel_planner::plan::Call;

/// The accumulator of a `min` or `max` of floating-point numbers; none for any other call.
pub(crate) fn accumulator(call: &Call) -> Option<Box<dyn GroupsAccumulator>> {
    let wins = match call.function.fun().name() {
        "min" => Ordering::Less,
        "max" => Ordering::Greater,
        _ => return None,
    };
    let data_type = call.function.field().data_type().clone();
    match data_type {
        DataType::Float16 => Some(of::<Float16Type>(&data_type, wins)),
        DataType::Float32 => Some(of::<Float32Type>(&data_type, wins)),
        DataType::Float64 => Some(of::<Float64Type>(&data_type, wins)),
        _ => None,
    }
}

fn of<T: ArrowPrimitiveType + Send>(
    data_type: &DataType,
    wins: Ordering,
) -> Box<dyn GroupsAccumulator> {
    // Every NaN is this one: their signs mean nothing.
    let nan = T::Native::MAX_TOTAL_ORDER;
    let loses_to_all = match wins {
        Ordering::Less => nan,
        _ => T::Native::MIN_TOTAL_ORDER,
    };
    let keep = move |kept: &mut T::Native, new: T::Native| {
        let is_nan = new.partial_cmp(&new).is_none();
        let new = if is_nan { nan } else { new };
        if new.compare(*kept) == wins {
            *kept = new;
        }
    };
    Box::new(
        PrimitiveGroupsAccumulator::<T, _>::new(data_type, keep).with_starting_value(loses_to_all),
    )
}
