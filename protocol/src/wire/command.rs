//! Commands: an opcode and a body that says its own length, so that a log entry holds many in a row.

use zerocopy::IntoBytes;

use super::layout::{CancelLayout, ExtendLayout, LatePaymentLayout, PaymentLayout, ReserveLayout, TargetLayout};
use super::{control, opcode};
use crate::command::Command;
use crate::cursor::{Cursor, DecodeError};
use crate::types::{FeedPosition, ShardId};

impl Command {
    /// Appends the command's bytes, which are the same on the wire and in the log.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Reserve(reserve) => put(opcode::RESERVE, &ReserveLayout::from(reserve), out),
            Self::BeginPayment(payment) => put(opcode::BEGIN_PAYMENT, &PaymentLayout::from(payment), out),
            Self::PaymentFailed(payment) => put(opcode::PAYMENT_FAILED, &PaymentLayout::from(payment), out),
            Self::Confirm(target) => put(opcode::CONFIRM, &TargetLayout::from(target), out),
            Self::Release(target) => put(opcode::RELEASE, &TargetLayout::from(target), out),
            Self::Extend(extend) => put(opcode::EXTEND, &ExtendLayout::from(extend), out),
            Self::LatePayment(late) => put(opcode::LATE_PAYMENT, &LatePaymentLayout::from(late), out),
            Self::RefundDone(target) => put(opcode::REFUND_DONE, &TargetLayout::from(target), out),
            Self::Cancel(cancel) => put(opcode::CANCEL, &CancelLayout::from(cancel), out),
            Self::Expire => out.push(opcode::EXPIRE),
            Self::CreateProduct(spec) => {
                put_control(opcode::CREATE_PRODUCT, &control::ProductSpecMessage::from(&**spec), out);
            }
            Self::AdjustStock(adjust) => {
                put_control(opcode::ADJUST_STOCK, &control::AdjustStockMessage::from(adjust), out);
            }
            Self::SetStock(set) => put_control(opcode::SET_STOCK, &control::SetStockMessage::from(set), out),
            Self::ChangeSale(change) => {
                put_control(opcode::CHANGE_SALE, &control::ChangeSaleMessage::from(change), out);
            }
            Self::AcknowledgeFeed { shard, through } => {
                let message =
                    control::QueryMessage { shard: shard.0.into(), position: through.0, ..Default::default() };
                put_control(opcode::ACKNOWLEDGE_FEED, &message, out);
            }
        }
    }

    /// Reads one command and leaves the cursor behind it.
    ///
    /// # Errors
    /// The bytes are no command of this version.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let opcode = cursor.u8("opcode")?;
        Self::decode_body(opcode, cursor)
    }

    /// Reads what follows the opcode.
    pub(super) fn decode_body(opcode: u8, cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        Ok(match opcode {
            opcode::RESERVE => Self::Reserve(cursor.layout::<ReserveLayout>("reserve")?.into()),
            opcode::BEGIN_PAYMENT => Self::BeginPayment(cursor.layout::<PaymentLayout>("begin payment")?.into()),
            opcode::PAYMENT_FAILED => Self::PaymentFailed(cursor.layout::<PaymentLayout>("payment failed")?.into()),
            opcode::CONFIRM => Self::Confirm(cursor.layout::<TargetLayout>("confirm")?.into()),
            opcode::RELEASE => Self::Release(cursor.layout::<TargetLayout>("release")?.into()),
            opcode::EXTEND => Self::Extend(cursor.layout::<ExtendLayout>("extend")?.into()),
            opcode::LATE_PAYMENT => Self::LatePayment(cursor.layout::<LatePaymentLayout>("late payment")?.into()),
            opcode::REFUND_DONE => Self::RefundDone(cursor.layout::<TargetLayout>("refund done")?.into()),
            opcode::CANCEL => Self::Cancel(cursor.layout::<CancelLayout>("cancel")?.try_into()?),
            opcode::EXPIRE => Self::Expire,
            opcode::CREATE_PRODUCT => {
                let message: control::ProductSpecMessage = control::get(cursor, "create product")?;
                Self::CreateProduct(Box::new(message.try_into()?))
            }
            opcode::ADJUST_STOCK => {
                Self::AdjustStock(control::get::<control::AdjustStockMessage>(cursor, "adjust stock")?.try_into()?)
            }
            opcode::SET_STOCK => {
                Self::SetStock(control::get::<control::SetStockMessage>(cursor, "set stock")?.try_into()?)
            }
            opcode::CHANGE_SALE => {
                Self::ChangeSale(control::get::<control::ChangeSaleMessage>(cursor, "change sale")?.try_into()?)
            }
            opcode::ACKNOWLEDGE_FEED => {
                let message: control::QueryMessage = control::get(cursor, "acknowledge feed")?;
                Self::AcknowledgeFeed {
                    shard: ShardId(control::narrow(message.shard, "shard")?),
                    through: FeedPosition(message.position),
                }
            }
            value => return Err(DecodeError::Invalid { what: "opcode", value: value.into() }),
        })
    }
}

fn put<T: IntoBytes + zerocopy::Immutable>(opcode: u8, layout: &T, out: &mut Vec<u8>) {
    out.push(opcode);
    out.extend_from_slice(layout.as_bytes());
}

fn put_control<M: prost::Message>(opcode: u8, message: &M, out: &mut Vec<u8>) {
    out.push(opcode);
    control::put(message, out);
}
